"""Answers of similar questions speak for or against each other, wherever a question was learned."""

import numpy as np
import pytest

from gateway.cache.semantic.choice import choose
from gateway.cache.semantic.index import Near, SimilarIndex
from gateway.cache.semantic.items import decode_item, encode_item
from gateway.cache.semantic.score import fingerprint

RETURNS = fingerprint("You can return shoes within 30 days of delivery.")
SHIPPING = fingerprint("Orders above 50 euros ship free of charge within the country.")
ALONG = np.array([1.0, 0.0], dtype=np.float32)


def no_veto(asked: str, kept: str) -> str:
    return ""


@pytest.mark.parametrize("answer", [0, 1, 2**64 - 1])
def test_an_item_tells_its_answer(answer: int) -> None:
    item = decode_item(encode_item("a question", ALONG, 10.0, answer))
    assert item is not None
    assert item.answer == answer


async def test_the_index_tells_answers_and_takes_newer_ones() -> None:
    index = SimilarIndex()
    index.add("a question", ALONG, 10.0)
    index.add("another", ALONG, 10.0, SHIPPING)
    index.add("a question", ALONG, 10.0, RETURNS)
    index.add("another", ALONG, 20.0)
    found = await index.nearest(ALONG, 5, now=0.0)
    assert {near.text: near.answer for near in found} == {"a question": RETURNS, "another": SHIPPING}


def test_a_neighbour_with_another_answer_lowers_the_score() -> None:
    alone = [Near("kept", 0.9, RETURNS)]
    agreed = [*alone, Near("second", 0.88, RETURNS)]
    disputed = [*alone, Near("second", 0.88, SHIPPING)]
    scores = [
        choice.score(choice.fitting[0])
        for choice in (choose("asked", near, no_veto) for near in (alone, agreed, disputed))
    ]
    assert scores[0] == scores[1] == pytest.approx(0.9)
    assert scores[2] < 0.75


def test_what_a_guard_vetoed_still_votes_and_the_question_itself_does_not() -> None:
    near = [Near("asked", 1.0, SHIPPING), Near("vetoed", 0.95, SHIPPING), Near("kept", 0.9, RETURNS)]
    choice = choose("asked", near, lambda _, kept: "numbers" if kept == "vetoed" else "")
    assert [one.text for one in choice.fitting] == ["kept"]
    assert len(choice.voters) == 2
    assert choice.score(choice.fitting[0]) < 0.6


@pytest.mark.parametrize(
    ("reason", "answer", "fits"),
    [
        ("numbers", RETURNS, False),
        ("negation", RETURNS, False),
        ("numbers", SHIPPING, True),  # another answer
        ("numbers", 0, True),  # not known to be the same
        ("substituted_word", RETURNS, True),  # speaks against the wording alone
    ],
)
def test_an_answer_that_was_vetoed_is_not_taken_from_a_farther_question(reason: str, answer: int, fits: bool) -> None:
    near = [Near("vetoed", 0.95, answer), Near("kept", 0.9, RETURNS)]
    choice = choose("asked", near, lambda _, kept: reason if kept == "vetoed" else "")
    assert [one.text for one in choice.fitting] == (["kept"] if fits else [])
    assert (choice.vetoed, choice.veto) == (near[0], reason)


def test_a_veto_of_a_farther_question_changes_nothing() -> None:
    near = [Near("kept", 0.95, RETURNS), Near("vetoed", 0.9, RETURNS)]
    choice = choose("asked", near, lambda _, kept: "numbers" if kept == "vetoed" else "")
    assert choice.best == near[0]


def test_without_known_answers_the_score_is_the_similarity() -> None:
    choice = choose("asked", [Near("kept", 0.9), Near("second", 0.88, SHIPPING)], no_veto)
    assert choice.score(choice.fitting[0]) == 0.9
