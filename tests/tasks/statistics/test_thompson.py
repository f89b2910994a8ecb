"""Shares of a bandit: probabilities of being best, a floor, discounting, and segments that lean on each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.statistics.thompson import (
    BASIS,
    allocate,
    allocate_by_segment,
    basis_points,
    certainty,
    discounts,
    probability_of_best,
    shrunk,
    tally,
    with_floor,
)

COUNT = st.floats(0.0, 2_000.0)
ARMS = st.lists(st.tuples(COUNT, COUNT), min_size=2, max_size=5)
FEW = settings(max_examples=40, deadline=None)


def drawn_best(alpha: np.ndarray, beta: np.ndarray, draws: int = 40_000) -> np.ndarray:
    """The same by Monte Carlo."""
    best = np.random.default_rng(1).beta(alpha, beta, (draws, alpha.size)).argmax(axis=1)
    return np.bincount(best, minlength=alpha.size) / draws


@FEW
@given(ARMS)
def test_the_probability_of_being_best_is_what_draws_say(counts: list[tuple[float, float]]) -> None:
    alpha, beta = (np.array(side) + 1.0 for side in zip(*counts, strict=True))
    found = probability_of_best(alpha, beta)
    assert found.sum() == pytest.approx(1.0)
    assert np.abs(found - drawn_best(alpha, beta)).max() < 0.02


def test_equal_arms_are_equally_likely_the_best_and_batches_agree_with_single_ones() -> None:
    alpha, beta = np.array([[5.0, 5.0, 5.0], [80.0, 90.0, 20.0]]), np.array([[3.0, 3.0, 3.0], [20.0, 10.0, 4.0]])
    found = probability_of_best(alpha, beta)
    assert found[0] == pytest.approx([1 / 3] * 3)
    assert found[1] == pytest.approx(probability_of_best(alpha[1], beta[1]))


@FEW
@given(ARMS, st.floats(0.05, 0.4))
def test_shares_add_up_and_no_arm_falls_below_the_floor(counts: list[tuple[float, float]], floor: float) -> None:
    found = allocate(np.array(counts), [True] * len(counts), floor)
    assert sum(found.weights) == BASIS
    lowest = min(floor, 1 / len(counts))
    assert min(found.weights) >= lowest * BASIS - 1
    means = [one.mean for one in found.posteriors]
    assert all(0.0 < mean < 1.0 for mean in means)


@FEW
@given(ARMS, st.data())
def test_an_excluded_arm_gets_nothing_and_changes_nothing_for_the_others(
    counts: list[tuple[float, float]], data: st.DataObject
) -> None:
    out = data.draw(st.integers(0, len(counts) - 1))
    eligible = [at != out for at in range(len(counts))]
    found = allocate(np.array(counts), eligible)
    assert (found.weights[out], found.best[out], sum(found.weights)) == (0, 0.0, BASIS)
    alone = allocate(np.array([one for at, one in enumerate(counts) if at != out]), [True] * (len(counts) - 1))
    assert [weight for at, weight in enumerate(found.weights) if at != out] == list(alone.weights)


def test_the_floor_is_taken_from_the_rest_in_proportion() -> None:
    assert with_floor(np.array([0.6, 0.3, 0.1, 0.0]), 0.05) == pytest.approx([0.57, 0.285, 0.095, 0.05])
    assert with_floor(np.array([0.9, 0.06, 0.04, 0.0]), 0.05) == pytest.approx([0.84375, 0.05625, 0.05, 0.05])
    assert with_floor(np.array([1.0, 0.0]), 0.5) == pytest.approx([0.5, 0.5])


@FEW
@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=8))
def test_basis_points_are_whole_and_complete(parts: list[float]) -> None:
    shares = [part / sum(parts) for part in parts]
    found = basis_points(shares)
    assert sum(found) == BASIS
    assert all(abs(one - share * BASIS) < 1.0 + 1e-6 for one, share in zip(found, shares, strict=True))


def test_a_graded_score_is_part_of_a_success_and_part_of_a_failure() -> None:
    found = tally(np.array([0, 1, 0]), np.array([0.75, 1.0, 0.5]), 3)
    assert found.tolist() == [[1.25, 0.75], [1.0, 0.0], [0.0, 0.0]]


@FEW
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 1.0)), max_size=30), st.floats(0.5, 1.0))
def test_discounting_in_one_go_is_discounting_at_every_outcome(
    outcomes: list[tuple[int, float]], discount: float
) -> None:
    """Raj & Kalyani's update: S ← γS + r, F ← γF + (1 − r) for the arm, S ← γS, F ← γF for the others."""
    step = np.zeros((3, 2))
    for arm, value in outcomes:
        step = step * discount
        step[arm] += (value, 1.0 - value)
    arms, values = np.array([one for one, _ in outcomes], dtype=int), np.array([one for _, one in outcomes])
    assert tally(arms, values, 3, discount) == pytest.approx(step)


def test_a_discounted_bandit_follows_a_change_that_another_one_does_not() -> None:
    arms = np.tile([0, 1], 400)
    values = np.where(np.arange(800) < 600, np.where(arms == 0, 0.9, 0.6), np.where(arms == 0, 0.1, 0.6))
    patient, forgetful = (allocate(tally(arms, values, 2, one), [True, True]) for one in (1.0, 0.97))
    assert patient.weights[0] > 9_000
    assert forgetful.weights[1] > 9_000


@pytest.mark.parametrize("discount", [0.0, -0.1, 1.1])
def test_a_discount_outside_of_its_range_is_refused(discount: float) -> None:
    with pytest.raises(ValueError, match="discount"):
        discounts(3, discount)


def test_what_cannot_be_allocated_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one arm"):
        allocate(np.zeros((2, 2)), [False, False])
    with pytest.raises(ValueError, match="floor"):
        allocate(np.zeros((2, 2)), [True, True], 0.01)
    with pytest.raises(ValueError, match="outcomes"):
        tally(np.array([0]), np.array([1.5]), 1)


@FEW
@given(ARMS)
def test_a_new_segment_starts_at_the_global_posterior(counts: list[tuple[float, float]]) -> None:
    """Two segments that agree, and one that nobody has come from: it knows what they know together."""
    half = np.array(counts) / 2
    found = allocate_by_segment(np.stack([half, half, np.zeros_like(half)]), [True] * len(counts))[2]
    together = allocate(np.array(counts), [True] * len(counts))
    assert found.weights == together.weights


@FEW
@given(st.lists(ARMS.filter(lambda one: len(one) == 2), min_size=1, max_size=4))
def test_a_segment_lies_between_itself_and_the_others(segments: list[list[tuple[float, float]]]) -> None:
    counts = np.array(segments)
    alpha, beta = shrunk(counts)
    others = counts.sum(axis=0) - counts
    own, theirs = (
        np.where(one.sum(-1) > 0, one[..., 0] / np.maximum(one.sum(-1), 1e-300), 0.5) for one in (counts, others)
    )
    found = alpha / (alpha + beta)
    low, high = np.minimum(np.minimum(own, theirs), 0.5), np.maximum(np.maximum(own, theirs), 0.5)
    assert bool((found >= low - 1e-9).all())
    assert bool((found <= high + 1e-9).all())


def test_an_arm_that_differs_by_segment_keeps_to_itself_beside_one_that_does_not() -> None:
    counts = np.array([[[80.0, 20.0], [60.0, 40.0]], [[30.0, 70.0], [60.0, 40.0]]])
    differs, alike = certainty(counts)
    assert differs < 20
    assert alike > 1_000


def test_segments_that_differ_keep_to_themselves() -> None:
    alike = np.array([[[80.0, 20.0], [60.0, 40.0]], [[81.0, 19.0], [62.0, 38.0]]])
    opposed = np.array([[[80.0, 20.0], [30.0, 70.0]], [[30.0, 70.0], [80.0, 20.0]]])
    assert certainty(alike).min() > 1_000
    assert certainty(opposed).max() < 20
    first, second = allocate_by_segment(opposed, [True, True])
    assert first.weights == (9_500, 500)
    assert second.weights == (500, 9_500)
