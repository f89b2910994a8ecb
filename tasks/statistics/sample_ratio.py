"""Is traffic split as planned? A sequential test of the assignment ratio, valid at every look.

Within a step each user is canary with probability p₀. The Bayes factor of a Beta(c·p₀, c·(1 − p₀)) mixture against
the exact p₀ is a non-negative martingale starting at 1 while the split is right, so P(it ever reaches 1/α) ≤ α
(Ville). Compare Lindon & Malek, "Anytime-Valid Inference for Multinomial Count Data" (2022). Steps are
multiplied: each step's factor is a martingale given the steps before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import betaln

# Worth this many imaginary users: at 50 % the mixture looks for shares within about ± 10 points of the plan.
CONCENTRATION = 100.0


@dataclass(frozen=True, slots=True)
class StepArrivals:
    """Users first seen during one step of the plan, by arm; `expected_share` is the canary's, in [0, 1].

    A user counts once, in the step of the first eligible call of the release.
    """

    n_stable: int
    n_canary: int
    expected_share: float

    def __post_init__(self) -> None:
        if self.n_stable < 0 or self.n_canary < 0:
            raise ValueError("counts cannot be negative")
        if not 0.0 <= self.expected_share <= 1.0:
            raise ValueError(f"expected_share must lie in [0, 1], got {self.expected_share!r}")


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """log Bayes factor against the planned split, its threshold, and whether it was reached."""

    log_bayes_factor: float
    log_threshold: float
    n_stable: int
    n_canary: int
    expected_canary: float

    @property
    def mismatch(self) -> bool:
        return self.log_bayes_factor >= self.log_threshold


def log_bayes_factor(step: StepArrivals, concentration: float = CONCENTRATION) -> float:
    """log of the Beta-mixture Bayes factor of one step; +inf when a share of 0 or 1 is contradicted."""
    share, canary, stable = step.expected_share, step.n_canary, step.n_stable
    if share in (0.0, 1.0):
        impossible = canary if share == 0.0 else stable
        return math.inf if impossible else 0.0
    a, b = concentration * share, concentration * (1.0 - share)
    mixture = float(betaln(a + canary, b + stable) - betaln(a, b))
    return mixture - canary * math.log(share) - stable * math.log1p(-share)


def check_sample_ratio(
    steps: Iterable[StepArrivals], alpha: float = 0.001, concentration: float = CONCENTRATION
) -> SampleRatio:
    """The product of the steps' Bayes factors against 1/α. No steps: no mismatch."""
    counted = tuple(steps)
    return SampleRatio(
        log_bayes_factor=math.fsum(log_bayes_factor(step, concentration) for step in counted),
        log_threshold=-math.log(alpha),
        n_stable=sum(step.n_stable for step in counted),
        n_canary=sum(step.n_canary for step in counted),
        expected_canary=math.fsum((step.n_stable + step.n_canary) * step.expected_share for step in counted),
    )
