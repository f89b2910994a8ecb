"""What is recommended for which prompt, and what somebody should look at."""

from dataclasses import replace
from typing import Any

import pytest

from tasks.cache_advice import DAY, AdvicePolicy, Kind, PromptFacts, advise, break_even, growth

BUSY = PromptFacts(
    prompt="help",
    days=7,
    calls=35_000,
    looked_at=35_000,
    questions=14_000,
    head=0.3,
    with_user=1.0,
    streamed=0.2,
    ttl=DAY,
    answer_life=None,
    personal=False,
    cached=True,
    age=30 * DAY,
    hit_rate=0.5,
    semantic_share=None,
    saved_usd=10.0,
    cost_per_call=0.002,
    input_tokens=800,
    output_tokens=100,
    workers=4,
)
PUBLIC: dict[str, Any] = {
    "calls": 100_000,
    "looked_at": 100_000,
    "questions": 400,
    "head": 0.97,
    "with_user": 0.0,
    "streamed": 0.0,
}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, Kind.MULTI_LAYER),  # 40 % distinct: a shadow tells what of it means the same
        ({"semantic_share": 0.1}, Kind.MULTI_LAYER),
        ({"semantic_share": 0.005}, Kind.EXACT),  # it was tried
        ({"questions": 9_000}, Kind.EXACT),
        ({"questions": 31_400}, Kind.MULTI_LAYER),
        ({"questions": 31_600}, Kind.NONE),  # more than 90 % distinct
        ({"questions": 31_600, "semantic_share": 0.1}, Kind.MULTI_LAYER),  # but they mean the same
        ({"calls": 699}, Kind.NONE),  # fewer than 100 a day
        ({"calls": 701, "looked_at": 701, "questions": 300, "workers": 1}, Kind.IN_PROCESS),
        ({"calls": 701, "looked_at": 701, "questions": 300}, Kind.NONE),  # saves 11 cents a day
        ({"ttl": 299}, Kind.NONE),
        ({"answer_life": 299.0}, Kind.NONE),
        ({"answer_life": 301.0}, Kind.MULTI_LAYER),
        ({"personal": True}, Kind.NONE),
        ({"looked_at": 49}, Kind.UNKNOWN),
        ({"days": 0.5, "calls": 40, "looked_at": 40, "questions": 20}, Kind.UNKNOWN),
        ({"days": 0.04, "calls": 60, "looked_at": 60, "questions": 57}, Kind.UNKNOWN),  # a burst
        ({"days": 0.05, "calls": 60, "looked_at": 60, "questions": 57}, Kind.NONE),
        (PUBLIC, Kind.HTTP),
        (PUBLIC | {"with_user": 0.01}, Kind.IN_PROCESS),
        (PUBLIC | {"streamed": 0.01}, Kind.IN_PROCESS),
        (PUBLIC | {"head": 0.9}, Kind.IN_PROCESS),
        (PUBLIC | {"answer_life": 3_599.0}, Kind.IN_PROCESS),
        (PUBLIC | {"with_user": 1.0, "workers": 64, "cost_per_call": 0.05}, Kind.EXACT),  # each worker would pay anew
        ({"questions": 1_900, "workers": 1}, Kind.IN_PROCESS),
        ({"questions": 2_100, "workers": 1}, Kind.EXACT),
        ({"cost_per_call": 0.0001}, Kind.NONE),  # saves 30 cents a day, costs 49
        ({"cost_per_call": None}, Kind.MULTI_LAYER),  # nobody knows what it saves
    ],
)
def test_recommendation(changes: dict[str, Any], kind: Kind) -> None:
    advice = advise(replace(BUSY, **changes))
    assert advice.kind is kind, advice.why
    assert advice.why
    assert bool(advice.instead) is (kind is Kind.NONE)


def test_a_redis_that_is_there_anyway_pays_at_once() -> None:
    facts = replace(BUSY, cost_per_call=0.0001)
    assert advise(facts, AdvicePolicy(redis_usd_month=0)).kind is Kind.MULTI_LAYER


def test_break_even() -> None:
    money = break_even(BUSY, AdvicePolicy(redis_usd_month=73 / 6))  # 40 cents a day
    assert money.costs_usd == pytest.approx(0.4)
    assert money.saves_usd == pytest.approx(5_000 * 0.6 * 0.002)
    assert money.calls_a_day == pytest.approx(0.4 / (0.6 * 0.002))
    assert money.pays is True
    unknown = break_even(replace(BUSY, cost_per_call=None), AdvicePolicy())
    assert (unknown.saves_usd, unknown.calls_a_day, unknown.pays) == (None, None, None)
    assert break_even(replace(BUSY, questions=35_000), AdvicePolicy()).calls_a_day is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cheaper": "openai/nano", "cheaper_per_call": 0.0005}, ["openai/nano", "75% less"]),
        ({"input_tokens": 3_000}, ["3000 tokens go in"]),
        ({}, ["nothing in its figures stands out"]),
    ],
)
def test_what_instead(changes: dict[str, Any], words: list[str]) -> None:
    text = " ".join(advise(replace(BUSY, personal=True, **changes)).instead)
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, []),
        ({"hit_rate": 0.19}, ["The hit rate is 19% after 30 days."]),
        ({"hit_rate": 0.19, "age": 6.9 * DAY}, []),
        ({"hit_rate": 0.19, "cached": False}, []),
        ({"memory_growth": 0.5, "traffic_growth": 0.45}, []),
        ({"memory_growth": 0.5, "traffic_growth": 0.3}, ["+50% against traffic +30%"]),
        ({"memory_growth": 0.2, "traffic_growth": -0.5}, ["+20% against traffic -50%"]),
        ({"memory_growth": 0.05, "traffic_growth": -0.5}, []),
        ({"memory_growth": 0.2}, ["no traffic to compare"]),
        ({"incidents": 2}, ["2 probes"]),
    ],
)
def test_red_flags(changes: dict[str, Any], flags: list[str]) -> None:
    found = advise(replace(BUSY, **changes)).red_flags
    assert len(found) == len(flags)
    assert all(flag in one for flag, one in zip(flags, found, strict=True))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], None), ([1, 2, 3], None), ([0, 0, 1, 1], None), ([1, 1, 2, 2], 1.0), ([2, 2, 9, 1, 1], -0.5)],
)
def test_growth(values: list[float], expected: float | None) -> None:
    assert growth(values) == expected
