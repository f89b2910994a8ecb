"""The split test: exact on edges, silent on a right split at every look, loud on a wrong one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaln
from scipy.stats import beta

from tasks.statistics.eprocess import FloatArray
from tasks.statistics.sample_ratio import CONCENTRATION, StepArrivals, check_sample_ratio, log_bayes_factor


@pytest.mark.parametrize(("stable", "canary", "share"), [(80, 20, 0.2), (50, 70, 0.5), (99, 1, 0.05)])
def test_the_bayes_factor_is_the_integral_it_claims_to_be(stable: int, canary: int, share: float) -> None:
    def integrand(p: float) -> float:
        prior = float(beta.pdf(p, CONCENTRATION * share, CONCENTRATION * (1 - share)))
        return prior * (p / share) ** canary * ((1 - p) / (1 - share)) ** stable

    value, _ = quad(integrand, 1e-9, 1 - 1e-9, limit=200)
    assert log_bayes_factor(StepArrivals(stable, canary, share)) == pytest.approx(math.log(value), rel=1e-4)


@pytest.mark.parametrize(
    ("steps", "mismatch"),
    [
        ([], False),
        ([StepArrivals(0, 0, 0.1)], False),
        ([StepArrivals(900, 100, 0.1)], False),
        ([StepArrivals(900, 100, 0.2)], True),
        ([StepArrivals(900, 100, 0.1), StepArrivals(520, 480, 0.5)], False),
        ([StepArrivals(900, 100, 0.1), StepArrivals(650, 350, 0.5)], True),
        ([StepArrivals(100, 0, 0.0), StepArrivals(0, 100, 1.0)], False),
        ([StepArrivals(100, 1, 0.0)], True),
        ([StepArrivals(1, 100, 1.0)], True),
    ],
)
def test_mismatch(steps: list[StepArrivals], mismatch: bool) -> None:
    found = check_sample_ratio(steps)
    assert found.mismatch is mismatch
    assert found.n_canary == sum(step.n_canary for step in steps)


def _log_factors(rng: np.random.Generator, actual: float, expected: float, releases: int, users: int) -> FloatArray:
    canary = (rng.random((releases, users)) < actual).cumsum(axis=1)
    n = np.arange(1, users + 1)
    a, b = CONCENTRATION * expected, CONCENTRATION * (1 - expected)
    mixture = betaln(a + canary, b + n - canary) - betaln(a, b)
    factors: FloatArray = mixture - canary * math.log(expected) - (n - canary) * math.log(1 - expected)
    return factors


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_right_split_is_silent_when_looked_at_after_every_user(share: float) -> None:
    """At α = 0.05, where 1,000 releases can show it, and at the α in use."""
    factors = _log_factors(np.random.default_rng(2), share, share, releases=1_000, users=1_000)
    highest = factors.max(axis=1)
    assert (highest >= math.log(20)).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1_000)
    assert (highest >= math.log(1_000)).mean() <= 0.001 + 3 * math.sqrt(0.001 / 1_000)


def test_a_tenth_of_the_canary_users_lost_is_found_within_some_thousand_users() -> None:
    lost = 0.9 * 0.5 / (0.5 + 0.9 * 0.5)
    factors = _log_factors(np.random.default_rng(2), lost, 0.5, releases=100, users=10_000)
    assert (factors.max(axis=1) >= math.log(1_000)).mean() >= 0.9


@pytest.mark.parametrize("bad", [(-1, 0, 0.5), (0, -1, 0.5), (0, 0, 1.1), (0, 0, math.nan)])
def test_impossible_counts_are_refused(bad: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match=r"negative|\[0, 1\]"):
        StepArrivals(*bad)
