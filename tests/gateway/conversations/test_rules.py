"""What of a conversation goes where."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversations.rules import place, recent, remembered, said
from gateway.types import Message, ModelRef, PromptVersion, Variable


def version(*variables: str) -> PromptVersion:
    declared = tuple(Variable(name) for name in variables)
    link = ModelRef("openai", "m")
    return PromptVersion(
        tenant="t", name="p", version="1.0.0", digest="d", template=(), variables=declared, chain=(link,)
    )


def user(text: Any) -> Message:
    return {"role": "user", "content": text}


def model(text: str) -> Message:
    return {"role": "assistant", "content": text}


OLD = (user("old"), model("answered"))
USE: Message = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
RESULT: Message = {"role": "tool", "tool_call_id": "1", "content": "42"}
PICTURE = user([{"type": "image_url", "image_url": {"url": "https://a.b/c"}}])
ASKS, INSTRUCTS = version("question", "tone"), version("tone")

CASES: list[tuple[str, PromptVersion, dict[str, Any], tuple[Message, ...], tuple[Any, Any, Any]]] = [
    ("one question", ASKS, {}, (user("now"),), ({"question": "now"}, (), ())),
    ("further turns", ASKS, {"tone": "dry"}, (*OLD, user("now")), ({"tone": "dry", "question": "now"}, OLD, ())),
    ("text in parts", ASKS, {}, (user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),),
     ({"question": "a\nb"}, (), ())),
    ("tools", ASKS, {}, (*OLD, user("now"), USE, RESULT), ({"question": "now"}, OLD, (USE, RESULT))),
    ("question given", ASKS, {"question": "now"}, OLD, ({"question": "now"}, OLD, ())),
    ("nothing said", ASKS, {}, (), ({}, (), ())),
    ("a picture", ASKS, {}, (PICTURE,), ({}, (), (PICTURE,))),
    ("instructions only", INSTRUCTS, {}, (*OLD, user("now")), ({}, (), (*OLD, user("now")))),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_place(case: tuple[str, PromptVersion, dict[str, Any], tuple[Message, ...], tuple[Any, Any, Any]]) -> None:
    _, prompt, variables, messages, expected = case
    placed = place(prompt, variables, messages)
    assert (placed.variables, placed.history, placed.messages) == expected


@pytest.mark.parametrize(
    ("messages", "variables", "expected"),
    [
        ((user("a"),), {"question": "b"}, (user("a"),)),
        ((), {"question": "b"}, (user("b"),)),
        ((), {"question": 4}, (user("4"),)),
        ((), {"question": ""}, ()),
        ((), {"tone": "dry"}, ()),
    ],
)
def test_what_the_user_said(messages: tuple[Message, ...], variables: dict[str, Any], expected: Any) -> None:
    assert said(messages, variables) == expected


def test_what_is_remembered_of_an_answer() -> None:
    answer: Message = {
        "role": "assistant",
        "content": "a",
        "refusal": None,
        "annotations": [],
        "reasoning_content": "hm",
    }
    assert remembered(answer) == model("a")


TURN = (user("12345"), model("67890"))


@pytest.mark.parametrize(
    ("turns", "at_most", "chars", "kept"),
    [
        ([], 5, 1000, []),
        ([OLD, TURN], 5, 1000, [OLD, TURN]),
        ([OLD, TURN], 1, 1000, [TURN]),
        ([OLD, TURN], 5, 100, [TURN]),
        ([OLD, TURN], 5, 10, []),
        ([OLD, TURN], 0, 1000, []),
        ([(user("a"), USE), (RESULT, model("b")), TURN], 2, 1000, [TURN]),
        ([(user("a"), USE), (RESULT, model("b")), TURN], 3, 1000, [(user("a"), USE), (RESULT, model("b")), TURN]),
    ],
)
def test_the_oldest_turns_go_first(turns: list[Any], at_most: int, chars: int, kept: list[Any]) -> None:
    assert recent(turns, turns_at_most=at_most, chars_at_most=chars) == kept


@given(st.lists(st.sampled_from([OLD, TURN, (RESULT, model("b"))]), max_size=8), st.integers(0, 8), st.integers(0, 600))
def test_what_is_kept_is_an_end_of_the_conversation(turns: list[Any], at_most: int, chars: int) -> None:
    kept = recent(turns, turns_at_most=at_most, chars_at_most=chars)
    assert len(kept) <= at_most
    assert not kept or (kept == turns[-len(kept) :] and kept[0][0]["role"] == "user")
