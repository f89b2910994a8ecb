"""Which questions make the practice model call tools, and what it says of their results."""

import pytest

from infra.simulator.practice.using_tools import ToolUse, Turn, summing_up, turn_of

OFFERED = ("calculate", "current_time", "search_documents", "dice")


@pytest.mark.parametrize(
    ("question", "uses"),
    [
        ("What is 12*7?", [ToolUse("calculate", '{"expression": "12*7"}')]),
        ("What is (1 + 2.5) * 4.", [ToolUse("calculate", '{"expression": "(1 + 2.5) * 4"}')]),
        ("What are 1+1 and 2 ** 3?", [ToolUse("calculate", f'{{"expression": "{e}"}}') for e in ("1+1", "2 ** 3")]),
        ("What time is it?", [ToolUse("current_time", "{}")]),
        ("Look up the returns.", [ToolUse("search_documents", '{"query": "Look up the returns."}')]),
        ('Use dice with {"sides": 6}, please.', [ToolUse("dice", '{"sides": 6}')]),
        ("Use dice.", [ToolUse("dice", "{}")]),
        ("Use dice with {oops}", [ToolUse("dice", "{oops}")]),
    ],
)
def test_a_question_that_needs_a_tool(question: str, uses: list[ToolUse]) -> None:
    assert turn_of([("user", question)], OFFERED) == Turn("", tuple(uses))


@pytest.mark.parametrize(
    "question", ["", "How long may I return it?", "Call 555-0199 about the 2024 report.", "Use hammer.", "Order 4711"]
)
def test_a_question_that_needs_none(question: str) -> None:
    assert turn_of([("user", question)], ("current_time", "search_documents")) is None


def test_only_what_is_on_offer_is_called() -> None:
    assert turn_of([("user", "What is 12*7?")], ("current_time",)) is None
    assert turn_of([], OFFERED) is None


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("84", "The result is 84."),
        ('{"error": "no such order"}', "I could not find that out: no such order."),
        ('[{"document": "returns", "text": "30 days."}]', "30 days. [doc:returns]"),
        ("[]", "The result is []."),
    ],
)
def test_results_are_told_in_words(result: str, words: str) -> None:
    asked = [("user", "What is 12*7?"), ("assistant", ""), ("tool", result)]
    assert turn_of(asked, OFFERED) == Turn(words)
    assert summing_up(asked) == words


def test_over_and_over_and_aloud() -> None:
    asked = [("user", "Work out 1+1 over and over, and think aloud."), ("assistant", ""), ("tool", "2")]
    turn = turn_of(asked, OFFERED)
    assert turn is not None
    assert (turn.text, len(turn.uses)) == ("Let me see.", 1)
