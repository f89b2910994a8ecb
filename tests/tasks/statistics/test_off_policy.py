"""Means of arms whose share followed what they scored."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.statistics.off_policy import estimate
from tasks.statistics.thompson import allocate, tally

FLOOR = 0.1
MEANS = (0.6, 0.6)


def played(seed: int, count: int = 400, batch: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arm, reward and propensity of each unit of a bandit between equal arms, which follows its luck."""
    rng = np.random.default_rng(seed)
    arms, rewards, propensities = np.empty(0, dtype=int), np.empty(0), np.empty(0)
    for _ in range(count // batch):
        shares = np.array(allocate(tally(arms, rewards, 2), [True, True], FLOOR).weights) / 10_000
        drawn = (rng.random(batch) < shares[1]).astype(int)
        arms = np.append(arms, drawn)
        rewards = np.append(rewards, (rng.random(batch) < np.array(MEANS)[drawn]).astype(float))
        propensities = np.append(propensities, shares[drawn])
    return arms, rewards, propensities


def test_weighting_takes_back_what_the_bandit_did_to_the_plain_mean() -> None:
    plain, weighted, outside = [], [], 0
    for seed in range(30):
        arms, rewards, propensities = played(seed)
        found = estimate(arms == 1, rewards, propensities, least=FLOOR)
        plain.append(rewards[arms == 1].mean())
        assert found.unnormalised is not None
        weighted.append(found.unnormalised)
        outside += not found.lower <= MEANS[1] <= found.upper
    assert np.mean(plain) < MEANS[1] - 0.01, "an arm that had bad luck is given few users who could show it"
    assert abs(np.mean(weighted) - MEANS[1]) < 3 * np.std(weighted) / np.sqrt(30)
    assert outside <= 2


def test_of_a_fixed_split_it_is_the_mean() -> None:
    chosen = np.array([True, False, True, True])
    found = estimate(chosen, np.array([1.0, 0.3, 0.5, 0.0]), np.full(4, 0.5), least=0.5)
    assert (found.units, found.of, found.mean) == (3, 4, pytest.approx(0.5))
    assert found.effective == pytest.approx(3.0)
    assert found.unnormalised == pytest.approx(0.75)
    assert (found.lower, found.upper) == (0.0, 1.0), "three users bound nothing"


def test_a_rare_unit_counts_for_those_like_it() -> None:
    found = estimate(np.array([True, True]), np.array([1.0, 0.0]), np.array([0.1, 0.9]), least=0.05)
    assert found.mean == pytest.approx(0.9)
    assert found.effective < 1.3


def test_an_arm_that_nobody_was_given_has_no_mean() -> None:
    found = estimate(np.zeros(5, dtype=bool), np.ones(5), np.full(5, 0.95), least=0.05)
    assert (found.mean, found.unnormalised, found.lower, found.upper) == (None, None, 0.0, 1.0)


def test_what_breaks_the_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="propensity"):
        estimate(np.array([True]), np.array([1.0]), np.array([0.01]), least=0.05)
    with pytest.raises(ValueError, match="rewards"):
        estimate(np.array([True]), np.array([1.5]), np.array([0.5]), least=0.05)
