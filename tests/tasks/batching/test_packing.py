"""Answers judged several to a call get what they get singly, and those that do not come back are judged singly."""

import pytest

from tasks.llm import Verdict, judge
from tasks.specs.model import BackgroundSpec
from tests.tasks.batching.conftest import BatchYard
from tests.tasks.conftest import Station

pytestmark = pytest.mark.integration

BOTH = ("accuracy", "helpfulness")
PACKED = BackgroundSpec(batching="packed", pack=4)
REFERENCE = "Shipping takes 3 working days."
ANSWERS = [REFERENCE, "Shipping takes 9 weeks.", "I don't know.", "It takes 3 working days.", "Never.", "3 days."]


def verdicts(*, repeat: int = 0) -> list[Verdict]:
    return [
        Verdict(f"How long does shipping take, variant {n}?", answer, REFERENCE, repeat=repeat)
        for n, answer in enumerate(ANSWERS)
    ]


def test_packed_verdicts_are_those_of_single_calls(yard: BatchYard) -> None:
    judged = [
        judge.fn(yard.settings, "acme", "openai/gpt-4.1", BOTH, verdicts(), how) for how in (PACKED, BackgroundSpec())
    ]
    packed, singly = judged
    assert packed == singly
    assert len({one.score for one in packed}) > 2
    assert yard.counts() == {"chat.completions": 2 + len(ANSWERS)}, "a pack of four and one of two, then one by one"
    assert {row.origin for row in yard.calls()} == {"judge"}


def test_judging_again_is_free_and_a_repeat_is_real(yard: BatchYard) -> None:
    for repeat in (0, 0, 1):
        judge.fn(yard.settings, "acme", "openai/gpt-4.1", BOTH, verdicts(repeat=repeat), PACKED)
    assert yard.counts() == {"chat.completions": 4}


def test_only_what_is_judged_by_the_same_rules_goes_together(yard: BatchYard) -> None:
    grounded = [Verdict("How long?", answer, documents=REFERENCE) for answer in ANSWERS[:2]]
    lone = Verdict("How long?", "3 days.", REFERENCE, repeat=3)
    found = judge.fn(yard.settings, "acme", "openai/gpt-4.1", BOTH, [*grounded, *verdicts()[:2], lone], PACKED)
    assert all(one.score is not None for one in found)
    assert yard.counts() == {"chat.completions": 3}


def test_a_judge_that_gives_no_list_is_asked_one_by_one(station: Station) -> None:
    """What it echoes of a single question is no verdict either; that is a Judgement without a score."""
    found = judge.fn(station.settings, "acme", "openai/judge", BOTH, verdicts()[:3], PACKED)
    assert [one.score for one in found] == [None] * 3
    assert station.provider.calls == 1 + 3


def test_a_batch_api_judges_too(yard: BatchYard) -> None:
    how = BackgroundSpec(batching="batch_api", wait=20.0)
    found = judge.fn(yard.settings, "acme", "openai/gpt-4.1", BOTH, verdicts(), how)
    assert all(one.score is not None for one in found)
    assert yard.counts() == {"batches": 1, "batches.item": len(ANSWERS)}
