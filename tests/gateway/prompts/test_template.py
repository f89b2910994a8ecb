"""Substitution puts text in the place of a name, once, and knows nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest, MissingVariable
from gateway.prompts.template import TemplateError, bind, names, parse, render, render_text, with_history
from gateway.types import Message, ModelRef, PromptVersion, RetrievalPolicy, Variable

anything = st.text(max_size=60) | st.text(alphabet="{}\\ ab_%$#", max_size=30)
names_of_variables = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
plain = st.text(max_size=30).filter(lambda text: "{{" not in text and not text.endswith(("{", "\\")))


@given(anything)
def test_a_value_survives_as_it_is(value: str) -> None:
    assert render_text("{{v}}", {"v": value}) == value
    assert render_text("<{{ v }}|{{v}}>", {"v": value}) == f"<{value}|{value}>"


@given(names_of_variables, names_of_variables, anything)
def test_a_value_is_never_read_as_a_template(one: str, other: str, secret: str) -> None:
    if one != other:
        hostile = "{{" + other + "}}"
        assert render_text("{{" + one + "}}", {one: hostile, other: secret}) == hostile


@given(st.lists(plain, min_size=1, max_size=5), names_of_variables, anything)
def test_what_is_no_variable_stays(literals: list[str], name: str, value: str) -> None:
    literals = [text.lstrip("}") for text in literals]  # a brace after a closing pair would belong to it
    assert render_text(("{{" + name + "}}").join(literals), {name: value}) == value.join(literals)


@given(anything)
def test_any_text_parses_or_says_where_it_does_not(text: str) -> None:
    try:
        pieces = parse(text)
    except TemplateError as error:
        assert str(error).startswith("line ")  # noqa: PT017 (some texts parse)
        return
    values = {name: "" for is_variable, name in pieces if is_variable}
    assert render_text(text, values) == "".join(piece for is_variable, piece in pieces if not is_variable)


@given(anything)
def test_escaped_braces_are_braces(text: str) -> None:
    escaped = text.replace("{{", "\\{{")
    if "\\{{" not in text and "{{{" not in text:
        assert render_text(escaped, {}) == text


@pytest.mark.parametrize(
    "text",
    ["{{a.b}}", "{{a['b']}}", "{{a|upper}}", "{{ 1 + 1 }}", "{{a()}}", "{{__import__('os')}}", "{{}}", "{{ }}",
     "{{a b}}", "{{ä}}", "{{{a}}}", "{{a", "text {{", "{{a\n{{b}}"],
)  # fmt: skip
def test_nothing_but_a_name_is_taken(text: str) -> None:
    with pytest.raises(TemplateError, match=r"^line 1, column"):
        parse(text)


@pytest.mark.parametrize("text", ["{% if a %}", "${a}", "{a}", "%(a)s", "}}", '{"a": {"b": 1}}', "\\{{a}}"])
def test_other_languages_are_text(text: str) -> None:
    assert render_text(text, {"a": "x"}) == text.replace("\\{{", "{{")


def test_the_place_of_a_mistake_is_named() -> None:
    with pytest.raises(TemplateError, match=r"^line 3, column 5: .*'\{\{a.b\}\}'"):
        parse("one\ntwo\nthe {{a.b}}")


def test_names_come_in_order_and_once() -> None:
    assert names("{{b}} {{ a }} {{b}} \\{{c}}") == ("b", "a")


def test_messages_keep_what_is_not_text() -> None:
    parts = [{"type": "text", "text": "{{a}}"}]
    template = ({"role": "user", "content": "{{a}}", "name": "{{a}}"}, {"role": "user", "content": parts})
    assert render(template, {"a": "x"}) == (
        {"role": "user", "content": "x", "name": "{{a}}"},
        {"role": "user", "content": parts},
    )


def test_a_name_without_a_value_is_named() -> None:
    with pytest.raises(MissingVariable, match="'b'"):
        render_text("{{a}}{{b}}", {"a": ""})


VERSION = PromptVersion(
    tenant="acme",
    name="help",
    version="1.0.0",
    digest="d",
    template=(),
    chain=(ModelRef("openai", "small"),),
    variables=(Variable("question", max_chars=5), Variable("tone", required=False, default="kind")),
    retrieval=RetrievalPolicy(collection="help", query="{{question}}"),
)


@pytest.mark.parametrize(
    ("given_", "bound"),
    [
        ({"question": "why"}, {"question": "why", "tone": "kind"}),
        ({"question": "", "tone": ""}, {"question": "", "tone": ""}),
        ({"question": 1.5, "tone": True}, {"question": "1.5", "tone": "true"}),
        ({"question": "äöüßé"}, {"question": "äöüßé", "tone": "kind"}),
    ],
)
def test_values_are_bound(given_: dict[str, object], bound: dict[str, str]) -> None:
    assert bind(VERSION, given_) == bound


@pytest.mark.parametrize(
    ("given_", "error"),
    [
        ({}, MissingVariable),
        ({"tone": "x"}, MissingVariable),
        ({"question": "why", "context": "x"}, InvalidRequest),
        ({"question": "why", "": "x"}, InvalidRequest),
        ({"question": "longer"}, InvalidRequest),
        ({"question": None}, InvalidRequest),
        ({"question": ["why"]}, InvalidRequest),
    ],
)
def test_values_that_do_not_fit_are_refused(given_: dict[str, object], error: type[InvalidRequest]) -> None:
    with pytest.raises(error):
        bind(VERSION, given_)


def test_no_value_is_told_in_an_error() -> None:
    with pytest.raises(InvalidRequest) as caught:
        bind(VERSION, {"question": "a secret value"})
    assert "secret" not in str(caught.value) + caught.value.hint


SYSTEM, QUESTION = {"role": "system", "content": "s"}, {"role": "user", "content": "q"}
EXAMPLE, MODEL = {"role": "user", "content": "e"}, {"role": "assistant", "content": "a"}
OLD = [{"role": "user", "content": "old"}, {"role": "assistant", "content": "answered"}]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ([SYSTEM, QUESTION], [SYSTEM, *OLD, QUESTION]),
        ([SYSTEM, EXAMPLE, MODEL, QUESTION], [SYSTEM, EXAMPLE, MODEL, *OLD, QUESTION]),
        ([SYSTEM, QUESTION, MODEL], [SYSTEM, *OLD, QUESTION, MODEL]),
        ([SYSTEM], [SYSTEM, *OLD]),
        ([], OLD),
    ],
)
def test_earlier_turns_stand_before_what_is_asked_now(template: list[Message], expected: list[Message]) -> None:
    assert with_history(template, OLD) == tuple(expected)
    assert with_history(template, []) == tuple(template)
