import itertools
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.cache.keys import PREFIX, Scope, answer_key, canonical, entry_name, name_pattern
from gateway.types import CacheMode, CachePolicy, Call, ModelRef, Origin, Passage, RetrievalPolicy, Variable
from tests.gateway.cache.specimens import MANAGED, RAW, VERSION

NAMES = st.text(alphabet=st.sampled_from("ab{}|@:*?[]\\\n\0/%é~ "), max_size=6)

# Any characters, lone surrogates, wide integers: whatever a JSON parser may let through.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**64, max_value=2**80)
    | st.floats(allow_nan=False)
    | st.text(st.characters(), max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def tagged(value: Any) -> Any:
    """Equal for values that JSON tells apart only by the order of a mapping, different for all others."""
    if isinstance(value, dict):
        return ("map", frozenset((key, tagged(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return ("list", tuple(tagged(item) for item in value))
    return (type(value).__name__, repr(value))


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(VALUES, VALUES)
def test_two_values_share_an_encoding_only_if_they_are_the_same(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) == (tagged(one) == tagged(other))


@given(VALUES)
def test_the_order_of_a_mapping_does_not_count(value: Any) -> None:
    assert canonical(value) == canonical(reordered(value))


def test_the_order_of_a_list_counts() -> None:
    assert canonical([1, 2]) != canonical([2, 1])


LOOKALIKES: list[Any] = [
    1,
    1.0,
    True,
    "1",
    0,
    0.0,
    False,
    "0",
    None,
    "None",
    "",
    [],
    {},
    [None],
    b"1",
    [[]],
    2**70,
    -(2**70),
]


def test_lookalikes_and_a_missing_parameter_are_all_different() -> None:
    keys = [answer_key(replace(RAW, params={"temperature": 0, "x": value})) for value in LOOKALIKES]
    keys.append(answer_key(RAW))
    assert len(set(keys)) == len(keys)


def test_other_mappings_are_encoded_as_mappings() -> None:
    assert canonical(MappingProxyType({"b": 1, "a": MappingProxyType({})})) == canonical({"a": {}, "b": 1})


def test_mapping_keys_of_other_types_are_told_apart() -> None:
    assert len({canonical({1: "x"}), canonical({"1": "x"}), canonical({True: "x"}), canonical({None: "x"})}) == 4


def test_what_json_cannot_carry_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        canonical({"x": object()})


def version(**changes: Any) -> Call:
    return replace(MANAGED, version=replace(VERSION, **changes))


CHANGES = {
    "tenant": replace(MANAGED, tenant="other"),
    "variable": replace(MANAGED, variables={"question": "How do I get my money back"}),
    "variable name": replace(MANAGED, variables={"query": "How do I get my money back?"}),
    "variable missing": replace(MANAGED, variables={}),
    "further message": replace(MANAGED, messages=({"role": "user", "content": "And now?"},)),
    "history": replace(MANAGED, history=({"role": "user", "content": "And now?"},)),
    "known parameter": replace(MANAGED, params={"temperature": 0, "max_tokens": 5}),
    "unknown parameter": replace(MANAGED, params={"temperature": 0, "never_heard_of": None}),
    "parameter's type": replace(MANAGED, params={"temperature": 0.0}),
    "parameter missing": replace(MANAGED, params={}),
    "chain": replace(MANAGED, chain=(ModelRef("openai", "large"),)),
    "chain's order": replace(MANAGED, chain=(ModelRef("a", "b"), ModelRef("openai", "small"))),
    "collection": replace(MANAGED, collection="other"),
    "repeat": replace(MANAGED, repeat=1),
    "prompt": version(name="other"),
    "version": version(version="1.0.1"),
    "digest": version(digest="d2"),
    "template": version(template=({"role": "user", "content": "{{question}}"},)),
    "declared variables": version(variables=(Variable("question", default="?"),)),
    "version's parameters": version(params={"temperature": 0, "stop": ["\n"]}),
    "retrieval": version(retrieval=RetrievalPolicy(collection="help", query="{{question}}", top_k=8)),
    "no retrieval": version(retrieval=None),
    "version's tools": version(tools=("search_documents",)),
    "raw": replace(MANAGED, version=None),
    "raw tools": replace(MANAGED, version=None, tools=("calculate",)),
    "other raw tools": replace(MANAGED, version=None, tools=("current_time",)),
    "several raw tools": replace(MANAGED, version=None, tools=("calculate", "current_time")),
    "raw tools of the caller": replace(MANAGED, version=None, params={"tools": ["calculate"]}),
    "raw model": replace(MANAGED, version=None, model="openai/large"),
    "raw prompt": replace(MANAGED, version=None, prompt="other"),
}


def test_whatever_can_change_the_answer_changes_the_key() -> None:
    keys = {name: answer_key(call) for name, call in {"as it is": MANAGED, **CHANGES}.items()}
    for one, other in itertools.combinations(keys, 2):
        assert keys[one] != keys[other], f"{one} and {other} share a key"


SAME = {
    "id": {"id": "call_9"},
    "time": {"received_at": 0.0},
    "api key": {"key_id": "k"},
    "origin": {"origin": Origin.JUDGE},
    "user": {"user": "u"},
    "stream": {"stream": True},
    "cache mode": {"cache": CacheMode.REFRESH},
    "pin": {"pinned": "1.0.0", "model": "prompt:help-centre@1.0.0"},
    "release": {"release": "r", "arm": "canary", "weight": 500, "evidence": True},
    "epoch": {"epoch": "g.f"},
    "grounding": {
        "rendered": ({"role": "user", "content": "all of it"},),
        "query": "money back",
        "passages": (Passage("refunds", 3, "Refunds", "Within 30 days.", 0.5),),
    },
    "cache policy": {"version": replace(VERSION, cache=CachePolicy(ttl=1.0), total_timeout=1.0, daily_budget_usd=1.0)},
    "chain left to the version": {"chain": ()},
}


@pytest.mark.parametrize("changes", SAME.values(), ids=list(SAME))
def test_what_cannot_change_the_answer_does_not_change_the_key(changes: dict[str, Any]) -> None:
    assert answer_key(replace(MANAGED, **changes)) == answer_key(MANAGED)


@given(
    st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.dictionaries(st.text(max_size=5), VALUES, max_size=4)
)
def test_parameters_are_in_the_key_whatever_they_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = answer_key(replace(RAW, params=one)) == answer_key(replace(RAW, params=other))
    assert same == (tagged(one) == tagged(other))


@given(st.tuples(NAMES, NAMES, NAMES), st.tuples(NAMES, NAMES, NAMES))
def test_hostile_names_never_share_a_scope(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    scopes = [Scope(*names) for names in (one, other)]
    names = [entry_name(scope, "k") for scope in scopes]
    assert (names[0] == names[1]) == (one == other)
    for scope, name in zip(scopes, names, strict=True):
        assert Scope.parse(name) == scope
        assert name.count("{") == name.count("}") == 1, "the slot of a cluster is what stands between the first braces"
        assert not set(name) & set("*?[]\\\n\0 ")


def test_a_raw_scope_is_no_prompt_named_raw() -> None:
    assert entry_name(Scope("acme"), "k") == PREFIX + "acme|raw}:k"
    assert entry_name(Scope("acme", "raw", ""), "k") != entry_name(Scope("acme"), "k")


@pytest.mark.parametrize("name", ["", "py:x:{", "py:x:{acme}:k", "py:x:{acme|x}:k", "py:routing", "py:x:{acme|p@1:k"])
def test_other_names_are_not_parsed(name: str) -> None:
    with pytest.raises(ValueError, match="name of a cache entry"):
        Scope.parse(name)


def test_a_version_without_its_prompt_matches_nothing() -> None:
    with pytest.raises(ValueError, match="prompt"):
        name_pattern("acme", version="1.0.0")
