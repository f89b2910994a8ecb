"""Whether a scope may serve semantic hits: a bound on the share of wrong ones that is valid at every look.

Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2024), with capital
that is spread over several constant bets ("diversified" betting). For judged pairs i = 1, 2, ... with Wᵢ = 1 when the
answer was wrong, picked for judging with probability pᵢ ≥ fᵢ, and a boundary m:

    under   E⁻ = Σⱼ πⱼ ∏ᵢ (1 + θⱼ fᵢ / pᵢ · (m − Wᵢ) / (1 − m))     evidence that the share of wrong hits is below m
    over    E⁺ = Σⱼ πⱼ ∏ᵢ (1 + θⱼ fᵢ / pᵢ · (Wᵢ − m) / m)           evidence that it is above m

A pair that is not judged leaves both as they are, so that in expectation over the picking 1/pᵢ cancels: pairs judged
with different probabilities need no other weights. It asks one thing: fᵢ, the least probability that any pair had at
that moment, must be known before the pair is seen. E⁻ is then a non-negative supermartingale that starts at 1 wherever
the share of wrong hits is m or more, and Ville's inequality gives P(E⁻ ever reaches 1/α) ≤ α, however often one looks.
The upper bound is the least m whose E⁻ has reached 1/α; the lower one the greatest m whose E⁺ has.

Once a scope serves, it is watched for a change for the worse by the e-detector of Shin, Ramdas & Rinaldo
("E-detectors", 2022) of Shiryaev–Roberts type: M ← (M + 1) · (factor of E⁺), so that a long good past cannot hide a bad
present. While the share of wrong hits is m or less, at least ``1 / DEMOTION_ALPHA`` judged pairs pass on average until
a false alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DEMOTION_ALPHA = 0.001
_STAKES_UNDER = np.array([1.0, 0.9, 0.75, 0.6, 0.45, 0.3, 0.15])
_SHARES_UNDER = np.array([0.28, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12])
_STAKES_OVER = np.array([0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64])
_SHARES_OVER = np.full(_STAKES_OVER.size, 1.0 / _STAKES_OVER.size)
_HALVINGS = 20


class ScopeState(StrEnum):
    """What the pairs judged so far allow."""

    LOOKING = "keep-looking"
    SERVING = "earn-serving"
    DEMOTED = "demote"


@dataclass(frozen=True, slots=True)
class ProofPair:
    """A candidate at or above the threshold, not one of those that fitted it: was its answer wrong?

    ``probability`` is the chance with which it was picked for judging, in (0, 1]; it may depend on the pair. ``least``
    is the smallest chance that any candidate had at that moment, by the policy then in force; 0 says that all of them
    had the same one.
    """

    wrong: bool
    probability: float = 1.0
    least: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.least <= self.probability <= 1.0 or self.probability == 0.0:
            raise ValueError(f"0 <= least <= probability <= 1 and probability > 0 must hold, got {self!r}")

    @property
    def ratio(self) -> float:
        """How much of a bet this pair carries."""
        return self.least / self.probability if self.least else 1.0


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdict after ``pairs`` judged pairs, ``wrong`` of them wrong; ``rate`` weighs each by 1 / probability.

    ``upper`` and ``lower`` bound the share of wrong hits, each at every look at once with the attempt's confidence.
    ``served_from`` is the number of pairs after which serving was earned, ``demoted_from`` that when it was lost.
    """

    state: ScopeState
    pairs: int
    wrong: int
    rate: float
    upper: float
    lower: float
    served_from: int | None = None
    demoted_from: int | None = None


def attempt_alpha(alpha: float, attempt: int) -> float:
    """The share α / (k (k + 1)) of ``alpha`` that the k-th attempt may use; all shares together make ``alpha``."""
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha!r}")
    if attempt < 1:
        raise ValueError(f"attempts are counted from 1, got {attempt}")
    return alpha / (attempt * (attempt + 1))


def prove(pairs: Sequence[ProofPair], *, max_wrong: float, alpha: float = 0.05, attempt: int = 1) -> Proof:
    """Folds all of an attempt's pairs, oldest first: looking, then serving, then, if later pairs break it, demoted.

    ``attempt`` counts a scope's thresholds from 1: each new threshold starts anew on new pairs, with a smaller share
    of ``alpha``, so that a scope whose share of wrong hits is at or above ``max_wrong`` ever serves with probability
    at most ``alpha``, however many attempts it has. Demoted is final for an attempt. Takes some milliseconds per
    thousand pairs. Raises ValueError for a ``max_wrong`` or ``alpha`` outside (0, 1) or an ``attempt`` below 1.
    """
    if not 0.0 < max_wrong < 1.0:
        raise ValueError(f"max_wrong must lie in (0, 1), got {max_wrong!r}")
    level = np.log(1.0 / attempt_alpha(alpha, attempt))
    if not pairs:
        return Proof(ScopeState.LOOKING, 0, 0, 0.0, 1.0, 0.0)
    wrong = np.array([pair.wrong for pair in pairs], dtype=np.float64)
    ratio = np.array([pair.ratio for pair in pairs])
    weight = np.array([1.0 / pair.probability for pair in pairs])
    reached = np.flatnonzero(log_under(wrong, ratio, max_wrong) >= level)
    served = int(reached[0]) + 1 if reached.size else None
    demoted = _broken_after(wrong, ratio, max_wrong, served) if served is not None else None
    state = ScopeState.LOOKING if served is None else ScopeState.SERVING if demoted is None else ScopeState.DEMOTED
    return Proof(
        state=state,
        pairs=len(pairs),
        wrong=int(wrong.sum()),
        rate=float((wrong * weight).sum() / weight.sum()),
        upper=_upper(wrong, ratio, level),
        lower=_lower(wrong, ratio, level),
        served_from=served,
        demoted_from=demoted,
    )


def log_under(wrong: Floats, ratio: Floats, boundary: float) -> Floats:
    """log E⁻ after each pair, shape (n,): evidence that fewer than ``boundary`` of the hits are wrong."""
    return _log_mixture(ratio * (boundary - wrong) / (1.0 - boundary), _STAKES_UNDER, _SHARES_UNDER)


def log_over(wrong: Floats, ratio: Floats, boundary: float) -> Floats:
    """log E⁺ after each pair, shape (n,): evidence that more than ``boundary`` of the hits are wrong."""
    return _log_mixture(ratio * (wrong - boundary) / boundary, _STAKES_OVER, _SHARES_OVER)


def _log_mixture(gains: Floats, stakes: Floats, shares: Floats) -> Floats:
    with np.errstate(divide="ignore"):  # a bet of everything that was lost: log 0
        paths = np.cumsum(np.log1p(np.maximum(gains[:, None] * stakes, -1.0)), axis=0)
    mixture: Floats = np.logaddexp.reduce(paths + np.log(shares), axis=1)
    return mixture


def _broken_after(wrong: Floats, ratio: Floats, boundary: float, served: int) -> int | None:
    """The number of pairs after which the e-detector over those after ``served`` fires, if it does."""
    factors = 1.0 + (ratio * (wrong - boundary) / boundary)[served:, None] * _STAKES_OVER
    statistic = np.zeros_like(_STAKES_OVER)
    for number, factor in enumerate(factors, served + 1):
        statistic = (statistic + 1.0) * factor
        if float(statistic @ _SHARES_OVER) >= 1.0 / DEMOTION_ALPHA:
            return number
    return None


def _upper(wrong: Floats, ratio: Floats, level: float) -> float:
    """The least boundary that E⁻ has ruled out at any look; 1 when none is ruled out yet."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if log_under(wrong, ratio, middle).max() >= level:
            high = middle
        else:
            low = middle
    return high


def _lower(wrong: Floats, ratio: Floats, level: float) -> float:
    """The greatest boundary that E⁺ has ruled out at any look; 0 when none is ruled out yet."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if log_over(wrong, ratio, middle).max() >= level:
            low = middle
        else:
            high = middle
    return low
