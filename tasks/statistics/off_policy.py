"""What an arm's users would have scored on average, from a bandit whose probabilities changed all the time.

An arm that was given more users while it did well is not judged by its plain mean. With pᵢ the probability with which
user i was given the arm that answered, and Aᵢ that arm:

    IPS   (1/n) Σ 1[Aᵢ = a] · rᵢ / pᵢ            (Horvitz & Thompson, JASA 1952)
    SN    Σ 1[Aᵢ = a] · rᵢ / pᵢ  /  Σ 1[Aᵢ = a] / pᵢ      (self-normalised: Hájek 1971; Swaminathan & Joachims 2015)

The interval holds at every look and whatever the bandit did before, where normal intervals do not (Hadad, Hirshberg,
Zhan, Wager & Athey, PNAS 2021): with ``least`` a bound below every pᵢ that was fixed beforehand, here the floor,
Xᵢ = least · 1[Aᵢ = a] · rᵢ / pᵢ lies in [0, 1] and has the mean least · μ given the past, so that the betting
e-process bounds μ from below; the same on 1 − rᵢ bounds it from above (Waudby-Smith, Wu, Ramdas, Karampatziakis &
Mineiro, "Anytime-valid off-policy inference for contextual bandits", 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.statistics.eprocess import Direction, EProcess, FloatArray, log_e_paths, log_threshold

_GRID = 0.005


@dataclass(frozen=True, slots=True)
class ArmEstimate:
    """``units`` the arm answered, of ``of`` in which it could have; both estimates are None without any.

    ``effective``: as many units of equal weight would know as much (Kish). ``lower`` and ``upper`` hold at every look.
    """

    units: int
    of: int
    effective: float
    mean: float | None
    unnormalised: float | None
    lower: float
    upper: float


def estimate(
    chosen: NDArray[np.bool_], rewards: FloatArray, propensities: FloatArray, *, least: float, alpha: float = 0.05
) -> ArmEstimate:
    """Of one arm, from the units in which it could have been chosen, in order of time; all arrays of shape (n,).

    ``propensities`` are those of whichever arm answered; only the chosen ones are read. Raises ValueError where one of
    them is below ``least`` (but for rounding), or a reward outside [0, 1].
    """
    if rewards.size and not bool(((rewards >= 0.0) & (rewards <= 1.0)).all()):
        raise ValueError("rewards must lie in [0, 1]")
    used = propensities[chosen]
    if not 0.0 < least <= 1.0 or bool((used < least - 1e-3).any()):
        raise ValueError(f"no propensity may be below {least!r}")
    count = int(chosen.sum())
    if count == 0:
        return ArmEstimate(0, rewards.size, 0.0, None, None, 0.0, 1.0)
    weights = np.where(chosen, 1.0 / np.where(chosen, propensities, 1.0), 0.0)
    total = float(weights.sum())
    return ArmEstimate(
        units=count,
        of=rewards.size,
        effective=total**2 / float((weights**2).sum()),
        mean=float(weights @ rewards) / total,
        unnormalised=float(weights @ rewards) / rewards.size,
        lower=_lower(weights * rewards, least, alpha),
        upper=1.0 - _lower(weights * (1.0 - rewards), least, alpha),
    )


def _lower(weighted: FloatArray, least: float, alpha: float) -> float:
    """The greatest mean below which none is left; each side of the interval takes half of ``alpha``."""
    observed = np.minimum(1.0, least * weighted)
    needed = log_threshold(alpha, 2)
    reached = 0.0
    for count in range(1, round(1.0 / _GRID)):
        mean = count * _GRID
        if log_e_paths(observed, EProcess(Direction.BETTER, least * mean)).max() < needed:
            break
        reached = mean
    return reached
