"""The betting e-process that decides a canary, valid at every look.

Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2024),
with the predictable plug-in bet. For observations X₁, X₂, … in [0, 1] and a boundary mean m:

    worse   E⁻ = ∏ (1 − λᵢ (Xᵢ − m))   λᵢ = clip((m − μ̂ᵢ₋₁) / (σ̂²ᵢ₋₁ + (m − μ̂ᵢ₋₁)²), 0, ½ / (1 − m))
    better  E⁺ = ∏ (1 + λᵢ (Xᵢ − m))   λᵢ = clip((μ̂ᵢ₋₁ − m) / (σ̂²ᵢ₋₁ + (μ̂ᵢ₋₁ − m)²), 0, ½ / m)
    μ̂ᵢ = (½ + Σⱼ≤ᵢ Xⱼ) / (i + 1)        σ̂²ᵢ = (¼ + Σⱼ≤ᵢ (Xⱼ − μ̂ⱼ)²) / (i + 1)

Each bet uses only what came before it, so E⁻ is a non-negative supermartingale that starts at 1 whenever
E[Xᵢ | past] ≥ m (E⁺: ≤ m). Ville's inequality then gives P(E ever reaches 1/α) ≤ α, however often one looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

FEW = 8
"""Up to so many observations one after the other are faster than arrays."""


class Direction(StrEnum):
    """The claim that an e-process collects evidence for: the mean lies below (worse) or above (better) the boundary."""

    WORSE = "worse"
    BETTER = "better"


def block_value(canary: float, stable_mean: float) -> float:
    """The observation X = (T − C + 1) / 2 of one block: ½ means equal, 0 and 1 are the extremes.

    Both arguments lie in [0, 1], higher is better. Raises ValueError otherwise (also for NaN).
    """
    for name, value in (("canary", canary), ("stable_mean", stable_mean)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must lie in [0, 1], got {value!r}")
    # Rounding of a mean of ones can reach 1 + 1e-16 elsewhere; here the result must stay inside [0, 1].
    return min(1.0, max(0.0, (canary - stable_mean + 1.0) / 2.0))


def boundary_mean(difference: float) -> float:
    """The mean m = (1 + d₀) / 2 of block values whose arms differ by d₀ (canary − stable), d₀ in (−1, 1)."""
    if not -1.0 < difference < 1.0:
        raise ValueError(f"a boundary difference must lie in (-1, 1), got {difference!r}")
    return (1.0 + difference) / 2.0


def log_threshold(alpha: float, tests: int = 1) -> float:
    """log(tests / α): the value of log E at which a claim at level α, shared by so many tests, is decided."""
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha!r}")
    if tests < 1:
        raise ValueError(f"at least one test is needed, got {tests}")
    return math.log(tests / alpha)


@dataclass(frozen=True, slots=True)
class EProcess:
    """An e-process after `n` observations; `update` returns the next one. Log domain: log E = 0 at the start."""

    direction: Direction
    boundary: float
    n: int = 0
    total: float = 0.0
    squared_deviations: float = 0.0
    log_e: float = 0.0
    log_e_max: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.boundary < 1.0:
            raise ValueError(f"the boundary mean must lie in (0, 1), got {self.boundary!r}")

    @property
    def mean(self) -> float:
        """μ̂: the mean so far with one pseudo-observation of ½."""
        return (0.5 + self.total) / (self.n + 1)

    @property
    def variance(self) -> float:
        """σ̂²: the mean squared deviation from the running means, with one pseudo-observation of ¼."""
        return (0.25 + self.squared_deviations) / (self.n + 1)

    @property
    def bet(self) -> float:
        """λ for the next observation, from the past alone."""
        gap = self.mean - self.boundary if self.direction is Direction.BETTER else self.boundary - self.mean
        cap = 0.5 / self.boundary if self.direction is Direction.BETTER else 0.5 / (1.0 - self.boundary)
        return min(max(gap / (self.variance + gap * gap), 0.0), cap)

    def update(self, x: float) -> EProcess:
        """The state after one more observation in [0, 1]; raises ValueError for anything else."""
        if not 0.0 <= x <= 1.0:
            raise ValueError(f"an observation must lie in [0, 1], got {x!r}")
        sign = 1.0 if self.direction is Direction.BETTER else -1.0
        log_e = self.log_e + math.log1p(sign * self.bet * (x - self.boundary))
        total = self.total + x
        deviation = x - (0.5 + total) / (self.n + 2)
        return EProcess(
            direction=self.direction,
            boundary=self.boundary,
            n=self.n + 1,
            total=total,
            squared_deviations=self.squared_deviations + deviation * deviation,
            log_e=log_e,
            log_e_max=max(self.log_e_max, log_e),
        )

    def after(self, observations: FloatArray) -> EProcess:
        """The state after all `observations`, shape (n,), at once: `update` n times, up to rounding."""
        if observations.size <= FEW:
            state = self
            for one in observations.tolist():
                state = state.update(one)
            return state
        if not bool(((observations >= 0.0) & (observations <= 1.0)).all()):
            raise ValueError("observations must lie in [0, 1]")
        path = log_e_paths(observations, self)
        n = self.n + observations.size
        totals = self.total + np.cumsum(observations)
        running = (0.5 + totals) / (np.arange(self.n + 1, n + 1) + 1)
        return EProcess(
            direction=self.direction,
            boundary=self.boundary,
            n=n,
            total=float(totals[-1]),
            squared_deviations=self.squared_deviations + float(np.cumsum((observations - running) ** 2)[-1]),
            log_e=float(path[-1]),
            log_e_max=max(self.log_e_max, float(path.max())),
        )

    def decided(self, alpha: float, tests: int = 1) -> bool:
        """Whether E has reached tests/α at any observation so far (once decided, always decided)."""
        return self.log_e_max >= log_threshold(alpha, tests)


def log_e_paths(observations: FloatArray, start: EProcess) -> FloatArray:
    """log E after each observation of many independent futures of `start`, at once.

    `observations` has shape (…, steps) with values in [0, 1]; the result has the same shape. Row by row it
    equals repeated `update`, which is what simulations rest on.
    """
    steps = observations.shape[-1]
    count = start.n + np.arange(1, steps + 1)
    means = (0.5 + start.total + np.cumsum(observations, axis=-1)) / (count + 1)
    variances = (0.25 + start.squared_deviations + np.cumsum((observations - means) ** 2, axis=-1)) / (count + 1)
    past_mean, past_variance = np.empty_like(means), np.empty_like(variances)
    past_mean[..., :1], past_variance[..., :1] = start.mean, start.variance
    past_mean[..., 1:], past_variance[..., 1:] = means[..., :-1], variances[..., :-1]
    better = start.direction is Direction.BETTER
    gap = past_mean - start.boundary if better else start.boundary - past_mean
    cap = 0.5 / start.boundary if better else 0.5 / (1.0 - start.boundary)
    bets = np.clip(gap / (past_variance + gap * gap), 0.0, cap)
    gains = bets * (observations - start.boundary)
    paths: FloatArray = start.log_e + np.cumsum(np.log1p(gains if better else -gains), axis=-1)
    return paths
