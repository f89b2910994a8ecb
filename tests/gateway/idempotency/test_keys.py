"""Which keys are allowed, and which requests are the same."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.idempotency.keys import check_key, fingerprint

CHAT = "/v1/chat/completions"
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize("key", ["a", " ", "6f1f3c6e-8a0c-4a5e-9d7e-0d2b8f7a1c11", "~" * 200, '"quoted"'])
def test_keys_that_are_taken(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", "~" * 201, "a\tb", "a\nb", "a\0b", "a\x7fb", "\u00e4", "\u0661"])
def test_keys_that_are_refused(key: str) -> None:
    with pytest.raises(InvalidRequest):
        check_key(key)


@given(_json)
def test_spacing_escapes_and_order_of_members_do_not_count(value: Any) -> None:
    text = msgspec.json.encode(value)
    rewritten = json.dumps(_backwards(json.loads(text)), indent=3, ensure_ascii=True)
    assert fingerprint(CHAT, msgspec.json.decode(rewritten)) == fingerprint(CHAT, msgspec.json.decode(text))


def _backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _backwards(value[key]) for key in reversed(value)}
    return [_backwards(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"temperature": 1}, {"temperature": True}),
        ({"seed": 2**70}, {"seed": 2**70 + 1}),
        ({"stream": False}, {}),
        ({"stop": None}, {}),
        ({"stop": ["a", "b"]}, {"stop": ["b", "a"]}),
        ({"stop": "a"}, {"stop": ["a"]}),
        ({"a": {"b": 1}}, {"a": {}, "b": 1}),
    ],
)
def test_everything_else_counts(one: Any, other: Any) -> None:
    assert fingerprint(CHAT, one) != fingerprint(CHAT, other)


def test_the_endpoint_counts() -> None:
    assert fingerprint(CHAT, {}) != fingerprint("/v1/messages", {})
    assert fingerprint("/a", "b") != fingerprint("/a\nb", "")


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        fingerprint(CHAT, {"text": "\ud800"})


def test_a_fingerprint_is_the_same_in_every_version() -> None:
    """Rows outlive a deployment: a change here answers a retry with 409."""
    assert fingerprint(CHAT, {"b": [1, 2.5, None], "a": "\u00e4"}) == (
        "17e2e367c2a1c4a0159c09d37703efa1340b2e302c3caaa85b55c7f27c84e726"
    )
