"""What makes a function a tool, what a model is shown of it, and which definitions are refused at the start."""

import json
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from gateway.errors import InvalidRequest
from gateway.tools.context import ToolContext
from gateway.tools.registry import Tool, load_tools, tool
from gateway.tools.signature import ToolDefinitionError


class Address(BaseModel):
    street: str
    number: int = 1


@tool(repeatable=True, timeout=2)
async def ship(
    context: ToolContext,
    order: Annotated[str, Field(min_length=2, description="Such as A-4711.")],
    to: Address,
    speed: Literal["slow", "fast"] = "slow",
    json: list[float] | None = None,
    *,
    model_config: bool = False,
) -> str:
    """Send an order
    to an address.

    What no model is told.
    """
    return order


def test_the_schema_says_what_the_signature_says() -> None:
    definition = ship.definition
    assert definition["type"] == "function"
    function = definition["function"]
    assert (function["name"], function["description"]) == ("ship", "Send an order to an address.")
    schema = function["parameters"]
    assert (schema["type"], schema["additionalProperties"], schema["required"]) == ("object", False, ["order", "to"])
    assert schema["properties"]["order"] == {"type": "string", "minLength": 2, "description": "Such as A-4711."}
    assert schema["properties"]["speed"] == {"type": "string", "enum": ["slow", "fast"], "default": "slow"}
    assert set(schema["properties"]) == {"order", "to", "speed", "json", "model_config"}
    assert "context" not in json.dumps(schema)
    assert (ship.repeatable, ship.timeout, ship.is_async) == (True, 2, True)


def test_a_tool_is_still_a_function() -> None:
    @tool
    def double(value: int) -> int:
        """Double it."""
        return 2 * value

    assert double(4) == 8
    assert (double.repeatable, double.timeout, double.is_async) == (False, 5.0, False)


def test_no_parameters_are_an_empty_object() -> None:
    @tool(name="other-name")
    def nothing() -> None:
        """Do nothing."""

    assert nothing.name == "other-name"
    assert nothing.arguments.schema == {"type": "object", "properties": {}, "additionalProperties": False}
    assert nothing.arguments.read("") == nothing.arguments.read(b"{}") == {}


def test_arguments_are_read_with_their_defaults() -> None:
    values = ship.arguments.read('{"order": "A-1", "to": {"street": "Main"}, "json": [1, 2.5]}')
    assert values == {
        "order": "A-1", "to": Address(street="Main"), "speed": "slow", "json": [1.0, 2.5], "model_config": False,
    }  # fmt: skip


RIGHT: dict[str, Any] = {"order": "A-1", "to": {"street": "Main"}}


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ("[]", "object"),
        ("nonsense", "JSON"),
        ('{"order": "A-1"', "JSON"),
        ({"order": "A-1"}, "to: Field required"),
        ({**RIGHT, "order": 7}, "order: Input should be a valid string"),
        ({**RIGHT, "order": "A"}, "order: String should have at least 2"),
        ({**RIGHT, "speed": "warp"}, "speed: Input should be 'slow' or 'fast'"),
        ({**RIGHT, "to": {"street": "Main", "number": "1"}}, "to.number: Input should be a valid integer"),
        ({**RIGHT, "to": {"street": "Main", "floor": 2}}, "to.floor: Extra inputs are not permitted"),
        ({**RIGHT, "context": {"tenant": "other"}}, "context: Extra inputs are not permitted"),
        ({**RIGHT, "argument_0": "A-2"}, "argument_0: Extra inputs are not permitted"),
        ({**RIGHT, "model_config": 1}, "model_config: Input should be a valid boolean"),
        ({**RIGHT, **{f"x{n}": 0 for n in range(9)}}, "and 6 more"),
    ],
)
def test_what_does_not_fit_is_named(given_: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ship.arguments.read(given_ if isinstance(given_, str) else json.dumps(given_))
    assert words in refused.value.message
    assert "A-1" not in refused.value.message


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["order", "to", "speed", "json", "model_config", "x"]), JSON_VALUES))
def test_whatever_is_given_is_read_or_refused(arguments: dict[str, Any]) -> None:
    try:
        values = ship.arguments.read(json.dumps(arguments))
    except InvalidRequest:
        return
    assert isinstance(values["order"], str)
    assert isinstance(values["to"], Address)
    assert set(arguments) <= set(values)


@given(st.text())
def test_whatever_text_is_given_is_read_or_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        ship.arguments.read(text)


# --- definitions that are refused


def undocumented(value: int) -> int:
    return value


def untyped(value) -> None:  # type: ignore[no-untyped-def]
    """Say something."""


def starred(*values: int) -> None:
    """Say something."""


def anything_named(**values: int) -> None:
    """Say something."""


def by_place(value: int, /) -> None:
    """Say something."""


def late_context(value: int, context: ToolContext) -> None:
    """Say something."""


def wrong_default(value: int = "seven") -> None:  # type: ignore[assignment]
    """Say something."""


def no_json(value: Callable[[], int]) -> None:
    """Say something."""


def unheard_of(value: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Say something."""


class Odd:
    pass


def of_a_class(value: Odd) -> None:
    """Say something."""


def yielding() -> Iterator[int]:
    """Say something."""
    yield 1


async def streaming() -> AsyncGenerator[int, None]:
    """Say something."""
    yield 1


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (undocumented, "docstring"),
        (untyped, "'value' has no type"),
        (starred, "'values' cannot be given by name"),
        (anything_named, "'values' cannot be given by name"),
        (by_place, "'value' cannot be given by name"),
        (late_context, "only the first parameter"),
        (wrong_default, "default of 'value' does not fit"),
        (no_json, "cannot be described"),
        (unheard_of, "cannot be resolved"),
        (of_a_class, "cannot be described"),
        (yielding, "yields"),
        (streaming, "yields"),
    ],
)
def test_a_bad_definition_is_refused_by_name(function: Callable[..., Any], words: str) -> None:
    with pytest.raises(ToolDefinitionError) as refused:
        tool(function)
    assert words in str(refused.value)
    assert f"{__name__}.{function.__name__}" in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [{"timeout": 0}, {"timeout": 31}, {"timeout": float("nan")}, {"name": "two words"}, {"name": "x" * 65}],
    ids=str,
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    def fine() -> None:
        """Do nothing."""

    with pytest.raises(ToolDefinitionError):
        tool(**options)(fine)


# --- modules


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


HEAD = "from gateway.tools.registry import tool\n\n"
DICE = f'{HEAD}@tool\ndef dice() -> int:\n    """Roll a die."""\n    return 4\n'


def test_the_built_in_tools_are_always_there() -> None:
    assert list(load_tools()) == ["calculate", "current_time", "search_documents"]
    assert [one.name for one in load_tools().values() if one.repeatable] == ["calculate"]


def test_modules_bring_theirs(folder: Path) -> None:
    (folder / "yard_tools_a.py").write_text(DICE)
    (folder / "yard_tools_b.py").write_text("from yard_tools_a import dice\n")
    found = load_tools(["yard_tools_a", "yard_tools_b"])
    assert isinstance(found["dice"], Tool)
    assert "calculate" in found


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("yard_bad_syntax", "def", "'yard_bad_syntax' cannot be imported"),
        ("yard_raises", "1 / 0", "'yard_raises' cannot be imported"),
        ("yard_empty", "x = 1", "'yard_empty' has no tools"),
        ("yard_twice", f'{HEAD}@tool\ndef calculate() -> int:\n    """Guess."""\n    return 4\n', "name 'calculate'"),
        ("yard_wrong", f"{HEAD}@tool\ndef wrong(x: int) -> int:\n    return 4\n", "yard_wrong.wrong"),
    ],
)
def test_a_bad_module_is_refused(folder: Path, name: str, source: str, words: str) -> None:
    (folder / f"{name}.py").write_text(source)
    with pytest.raises(ToolDefinitionError, match=words):
        load_tools([name])


def test_a_module_that_is_not_there_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="'no_such_module_of_tools' cannot be imported"):
        load_tools(["no_such_module_of_tools"])
