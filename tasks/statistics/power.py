"""How many users will a decision take? Simulated on the very e-process that decides, before a release and within it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tasks.statistics.eprocess import Direction, EProcess, FloatArray, boundary_mean, log_e_paths, log_threshold

SIMULATIONS = 200
LONGEST = 2_000


@dataclass(frozen=True, slots=True)
class Expectation:
    """Blocks (= canary users) until the decision over simulated releases; None: beyond `horizon` blocks.

    `decided_share` is the share of releases that decide within the horizon; each block also needs k stable users.
    """

    median: int | None
    p90: int | None
    mean: float | None
    decided_share: float
    horizon: int

    def days(self, canary_users_per_day: float) -> float | None:
        """Days until half of such releases are decided; None when the horizon comes first or nobody comes."""
        return None if self.median is None or canary_users_per_day <= 0 else self.median / canary_users_per_day

    def in_words(self, canary_users_per_day: float | None = None) -> str:
        """For people: "about 175 canary users (313 for 9 of 10 releases); at 40 users a day this takes 5 days"."""
        if self.median is None:
            return f"more than {self.horizon} canary users; relax the margin or use graded scores"
        tail = f"{self.p90}" if self.p90 is not None else f"more than {self.horizon}"
        text = f"about {self.median} canary users ({tail} for 9 of 10 releases)"
        days = None if canary_users_per_day is None else self.days(canary_users_per_day)
        if days is None or canary_users_per_day is None:
            return text
        return f"{text}; at {canary_users_per_day:g} users a day this takes {math.ceil(days)} days"


def expected_users(
    *,
    stable_mean: float,
    delta: float,
    sd: float | None,
    alpha: float = 0.05,
    margin: float = 0.0,
    direction: Direction = Direction.BETTER,
    tests: int = 1,
    k: int = 4,
    horizon: int = LONGEST,
    simulations: int = SIMULATIONS,
    seed: int = 0,
) -> Expectation:
    """Blocks until one guardrail decides when the canary's true mean is `stable_mean + delta`, higher being better.

    `sd` is the spread of per-user means within an arm; None means a binary metric. `margin` ≥ 0: the boundary lies
    at d₀ = −margin. Direction BETTER asks for promotion (non-inferiority), WORSE for rollback, where `tests` is the
    number of guardrails that share α. User means are drawn from Beta distributions with that mean and spread.
    Raises ValueError for a mean outside [0, 1].
    """
    canary_mean = stable_mean + delta
    for mean in (stable_mean, canary_mean):
        if not 0.0 <= mean <= 1.0:
            raise ValueError(f"arm means must lie in [0, 1], got {mean!r}")
    rng = np.random.default_rng(seed)
    canary = draw_users(rng, canary_mean, sd, (simulations, horizon))
    stable = draw_users(rng, stable_mean, sd, (simulations, horizon, k)).mean(axis=-1)
    start = EProcess(direction, boundary_mean(-margin))
    return _expectation(log_e_paths((canary - stable + 1.0) / 2.0, start), log_threshold(alpha, tests))


def expected_further_blocks(
    state: EProcess,
    observed: FloatArray,
    *,
    alpha: float,
    tests: int = 1,
    horizon: int = LONGEST,
    simulations: int = SIMULATIONS,
    seed: int = 0,
) -> Expectation:
    """Further blocks until `state` decides if the future resembles the block values `observed` (shape (n,), n ≥ 1)."""
    if observed.size == 0:
        raise ValueError("at least one observed block is needed to look ahead")
    future = np.random.default_rng(seed).choice(observed, size=(simulations, horizon))
    return _expectation(log_e_paths(future, state), log_threshold(alpha, tests))


def draw_users(rng: np.random.Generator, mean: float, sd: float | None, shape: tuple[int, ...]) -> FloatArray:
    """User means in [0, 1]: Beta with that mean and spread; 0 or 1 when sd is None or too wide for a Beta."""
    if sd == 0.0 or mean in (0.0, 1.0):
        return np.full(shape, mean)
    if sd is None or sd * sd >= mean * (1.0 - mean):
        return (rng.random(shape) < mean).astype(np.float64)
    concentration = mean * (1.0 - mean) / (sd * sd) - 1.0
    return rng.beta(mean * concentration, (1.0 - mean) * concentration, shape)


def _expectation(paths: FloatArray, threshold: float) -> Expectation:
    simulations, horizon = paths.shape
    crossed = paths >= threshold
    decided = crossed.any(axis=1)
    blocks = np.where(decided, crossed.argmax(axis=1) + 1.0, np.inf)
    median, p90 = (float(np.sort(blocks)[max(0, math.ceil(q * simulations) - 1)]) for q in (0.5, 0.9))
    return Expectation(
        median=int(median) if math.isfinite(median) else None,
        p90=int(p90) if math.isfinite(p90) else None,
        mean=float(blocks.mean()) if decided.all() else None,
        decided_share=float(decided.mean()),
        horizon=horizon,
    )
