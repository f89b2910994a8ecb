"""Two answers are compared in both orders; only a preference that survives the swap is one."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluators.base import Answered
from tasks.evaluators.pairwise import Asked, Pairwise, join_orders, pair_messages, pairwise_version, read_winner


def reply(winner: str) -> str:
    return json.dumps({"winner": winner, "reason": f"{winner} it is"})


@pytest.mark.parametrize(
    ("there", "back", "share", "flipped"),
    [
        ("A", "B", 1.0, False),
        ("B", "A", 0.0, False),
        ("tie", "tie", 0.5, False),
        ("A", "A", 0.5, True),
        ("B", "B", 0.5, True),
        ("A", "tie", 0.5, True),
        ("tie", "A", 0.5, True),
    ],
)
def test_a_flip_is_a_tie(there: str, back: str, share: float, flipped: bool) -> None:
    found = join_orders(reply(there), reply(back))
    assert (found.share, found.flipped) == (share, flipped)


@pytest.mark.parametrize("text", ["", "A", '{"winner": "C"}', '{"winner": 1}', '{"better": "A"}', "{"])
def test_a_reply_that_names_no_winner_is_no_verdict(text: str) -> None:
    assert read_winner(text) is None
    assert join_orders(text, reply("A")).share is None
    assert join_orders(reply("A"), text).share is None


@pytest.mark.parametrize("text", ['{"winner": "b"}', 'Well: {"winner": "Answer B", "reason": 3}', '{"winner": " B "}'])
def test_a_winner_is_read_as_judges_write_it(text: str) -> None:
    assert read_winner(text) == ("B", "")


class LongerWins:
    """A judge that prefers the longer answer, or always the first one."""

    def __init__(self, *, first_always: bool = False) -> None:
        self.asked: list[Asked] = []
        self._first_always = first_always

    def __call__(self, asked: Sequence[Asked]) -> list[str]:
        self.asked += asked
        replies = []
        for one in asked:
            a, b = one.messages[1]["content"].split("## Answer A\n")[1].split("\n\n## Answer B\n")
            replies.append(reply("A" if self._first_always or len(a) > len(b) else "B"))
        return replies


def test_the_rival_is_what_the_score_is_against() -> None:
    judge = LongerWins()
    answers = [
        Answered("Why?", "longer", rival="long"),
        Answered("Why?", "long", rival="longer"),
        Answered("Why?", "same", rival=" same"),
        Answered("Why?", "alone"),
    ]
    assert [one.value for one in Pairwise(judge, "m").score(answers)] == [1.0, 0.0, 0.5, 0.5]
    assert len(judge.asked) == 4, "both orders; nobody is asked about equal answers"


@given(st.lists(st.tuples(st.text(min_size=1, max_size=9), st.text(min_size=1, max_size=9)), max_size=5))
def test_a_judge_that_looks_at_the_place_only_prefers_nothing(pairs: list[tuple[str, str]]) -> None:
    scores = Pairwise(LongerWins(first_always=True), "m").score([Answered("Why?", a, rival=b) for a, b in pairs])
    assert {one.value for one in scores} <= {0.5}


def test_an_unreadable_judge_is_the_items_error() -> None:
    (score,) = Pairwise(lambda asked: ["?"] * len(asked), "m").score([Answered("Why?", "a", rival="b")])
    assert (score.value, score.failed) == (None, True)


def test_what_the_judge_is_shown() -> None:
    system, user = pair_messages("Why?", "one", "two", reference="Because.")
    assert "reference answer" in system["content"]
    assert user["content"].index("Because.") < user["content"].index("one") < user["content"].index("two")
    assert "documents" in pair_messages("Why?", "one", "two", documents="A text.")[0]["content"]
    assert pairwise_version("m") != pairwise_version("n")
