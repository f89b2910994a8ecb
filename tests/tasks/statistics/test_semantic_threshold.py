"""The threshold's fit: its intervals, its weights, and that luck does not pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.statistics.semantic_threshold import (
    JudgedPair,
    clopper_pearson_lower,
    clopper_pearson_upper,
    fit_threshold,
    least_pairs,
)

QUICK = settings(max_examples=60, deadline=None)

PAIRS = st.lists(st.builds(JudgedPair, st.floats(0.5, 1.0), st.booleans(), st.sampled_from([0.2, 1.0])), max_size=80)


def pairs(*groups: tuple[float, int, int]) -> list[JudgedPair]:
    """Groups of (similarity, right, wrong)."""
    return [JudgedPair(similarity, at >= wrong) for similarity, right, wrong in groups for at in range(right + wrong)]


@pytest.mark.parametrize(
    ("groups", "threshold"),
    [
        ([(0.9, 400, 0)], 0.9),
        ([(0.9, 100, 0)], None),  # all right, but too few to say so
        ([(0.95, 400, 0), (0.9, 400, 2), (0.8, 100, 100)], 0.9),
        ([(0.95, 400, 20)], None),
        ([(0.95, 50, 2), (0.9, 600, 2)], 0.9),  # bad luck at the top does not forbid what is below
    ],
)
def test_the_lowest_threshold_that_earns_it(groups: list[tuple[float, int, int]], threshold: float | None) -> None:
    fit = fit_threshold(pairs(*groups), max_wrong=0.02)
    assert fit.threshold == threshold
    assert (fit.reason == "") == (threshold is not None)


def test_the_curve_by_hand() -> None:
    fit = fit_threshold(pairs((0.9, 3, 1), (0.8, 4, 2)), max_wrong=0.02, questions=20)
    first, second = fit.curve
    assert (first.threshold, first.hits, first.wrong) == (0.9, 4, 1)
    assert (first.precision, first.hit_rate) == pytest.approx((0.75, 0.2))
    assert (second.threshold, second.hits, second.wrong) == (0.8, 10, 3)
    assert (second.precision, second.hit_rate) == pytest.approx((0.7, 0.5))
    assert (second.precision_low, second.precision_high) == pytest.approx((0.3475, 0.9333), abs=1e-3)
    assert (second.hit_rate_low, second.hit_rate_high) == pytest.approx((0.2720, 0.7280), abs=1e-3)


def test_no_pairs_and_no_threshold_say_why() -> None:
    assert fit_threshold([], max_wrong=0.02).reason == "no judged pairs yet"
    assert "best bound" in fit_threshold(pairs((0.9, 5, 5)), max_wrong=0.02).reason


@pytest.mark.parametrize("max_wrong", [0.01, 0.03, 0.1])
def test_the_fewest_pairs(max_wrong: float) -> None:
    needed = least_pairs(max_wrong)
    assert fit_threshold(pairs((0.9, needed, 0)), max_wrong=max_wrong).threshold == 0.9
    assert fit_threshold(pairs((0.9, needed - 1, 0)), max_wrong=max_wrong).threshold is None


def test_intervals_are_those_of_clopper_and_pearson() -> None:
    assert clopper_pearson_upper(0, 100, 0.95) == pytest.approx(1 - 0.05**0.01)
    assert clopper_pearson_lower(100, 100, 0.95) == pytest.approx(0.05**0.01)
    assert (clopper_pearson_lower(0, 5, 0.95), clopper_pearson_upper(5, 5, 0.95)) == (0.0, 1.0)


def test_pairs_that_were_picked_rarely_count_for_more() -> None:
    """Below 0.9 one in five was judged: 100 judged ones with 2 wrong stand for 500 with 10."""
    rare = [JudgedPair(0.8, at >= 2, probability=0.2) for at in range(100)]
    fit = fit_threshold([*pairs((0.95, 500, 0)), *rare], max_wrong=0.03)
    last = fit.curve[-1]
    assert last.precision == pytest.approx(1 - 10 / 1000)
    assert last.hit_rate == pytest.approx(1.0)
    assert last.precision_low < 0.985  # wider than a thousand judged pairs would make it


def test_a_lucky_small_sample_does_not_pass() -> None:
    """A scope with 10 % wrong at every similarity: in 300 samples of 60, hardly any gets a threshold for 2 %."""
    entropy = np.random.default_rng(1)
    passed = 0
    for _ in range(300):
        drawn = zip(entropy.random(60), entropy.random(60) < 0.9, strict=True)
        passed += fit_threshold([JudgedPair(float(s), bool(r)) for s, r in drawn], max_wrong=0.02).threshold is not None
    assert passed == 0


@QUICK
@given(PAIRS)
def test_the_curve_is_ordered_and_its_intervals_hold_their_values(drawn: list[JudgedPair]) -> None:
    fit = fit_threshold(drawn, max_wrong=0.05)
    thresholds = [point.threshold for point in fit.curve]
    assert thresholds == sorted(thresholds, reverse=True)
    assert len(fit.curve) <= 60
    assert [point.hits for point in fit.curve] == sorted(point.hits for point in fit.curve)
    for point in fit.curve:
        assert 0.0 <= point.precision_low <= point.precision + 1e-9 <= point.precision_high + 2e-9 <= 1.0 + 3e-9
        assert point.hits == sum(pair.similarity >= point.threshold for pair in drawn)
    if drawn:
        assert fit.curve[-1].hits == len(drawn)


@QUICK
@given(PAIRS)
def test_it_does_not_depend_on_the_order_of_the_pairs(drawn: list[JudgedPair]) -> None:
    one, other = fit_threshold(drawn, max_wrong=0.3), fit_threshold(drawn[::-1], max_wrong=0.3)
    assert (one.threshold, one.pairs, len(one.curve)) == (other.threshold, other.pairs, len(other.curve))
    assert [point.precision for point in one.curve] == pytest.approx([point.precision for point in other.curve])


@pytest.mark.parametrize("arguments", [{"max_wrong": 0.0}, {"max_wrong": 1.0}, {"confidence": 1.0}, {"questions": 1}])
def test_what_makes_no_sense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must lie|questions"):
        fit_threshold(pairs((0.9, 2, 0)), **{"max_wrong": 0.02, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(("similarity", "probability"), [(math.nan, 1.0), (0.5, 0.0), (0.5, 1.5)])
def test_pairs_that_cannot_be_are_refused(similarity: float, probability: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        JudgedPair(similarity, True, probability)
