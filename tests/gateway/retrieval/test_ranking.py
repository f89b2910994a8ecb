"""Which chunks are chosen, by table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.retrieval.ranking import MAX_PARTS, choose, questions


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("", ()),
        (" ?! \n", ()),
        ("How long is shipping?", ("How long is shipping?",)),
        ("Hi there! How long is shipping?", ("Hi there! How long is shipping?",)),
        ("shipping and returns", ("shipping and returns",)),
        ("What is\n\n shipping  like?", ("What is\n\n shipping like?",)),
        (
            "How long is shipping? And what does it cost?",
            ("How long is shipping? And what does it cost?", "How long is shipping?", "And what does it cost?"),
        ),
        (
            "how long is shipping and also how much is a plan",
            ("how long is shipping and also how much is a plan", "how long is shipping", "how much is a plan"),
        ),
        (
            "1) How long is shipping? 2) Who pays it back?",
            ("1) How long is shipping? 2) Who pays it back?", "How long is shipping?", "Who pays it back?"),
        ),
    ],
)
def test_what_a_query_asks(query: str, parts: tuple[str, ...]) -> None:
    assert questions(query) == parts


@given(st.text(max_size=300))
def test_questions_are_bounded(query: str) -> None:
    assert len(questions(query)) <= 1 + MAX_PARTS


def test_a_hostile_query_takes_no_time() -> None:
    assert len(questions("a" + " " * 50_000 + "b" + "\n" * 50_000)) == 1
    assert len(questions("and " * 50_000)[0]) == 3_999


@pytest.mark.parametrize(
    ("scores", "owners", "top_k", "per_document", "chosen"),
    [
        ([[0.1], [0.9], [0.5]], [0, 1, 2], 2, 2, [1, 2]),
        ([[0.5], [0.9], [0.5]], [0, 1, 2], 3, 3, [1, 0, 2]),  # a tie: in order of row
        ([[0.5], [0.5 + 1e-9]], [0, 1], 2, 2, [0, 1]),  # noise of summation is a tie
        ([[0.9], [0.8], [0.7], [0.1]], [0, 0, 0, 1], 3, 2, [0, 1, 3]),  # no more than two of one document
        ([[0.9], [0.8], [0.7]], [0, 0, 0], 3, 2, [0, 1, 2]),  # unless nothing else is left
        ([[0.9], [0.0], [-0.2]], [0, 1, 2], 3, 3, [0]),  # nothing in common is no answer
        ([[0.9, 0.9, 0.0], [0.8, 0.8, 0.0], [0.1, 0.0, 0.3]], [0, 1, 2], 2, 2, [0, 2]),  # one for each question
        ([[0.9, 0.9, 0.9], [0.8, 0.1, 0.1]], [0, 1], 2, 2, [0, 1]),  # the same leads both
        ([[0.9]], [0], 0, 1, []),
    ],
)
def test_what_is_chosen(
    scores: list[list[float]], owners: list[int], top_k: int, per_document: int, chosen: list[int]
) -> None:
    found = choose(np.array(scores, dtype=np.float32), np.array(owners, dtype=np.int32), top_k, per_document)
    assert [row for row, _ in found] == chosen
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_nothing_to_choose_from() -> None:
    assert choose(np.zeros((0, 1), dtype=np.float32), np.zeros(0, dtype=np.int32), 4, 2) == []
