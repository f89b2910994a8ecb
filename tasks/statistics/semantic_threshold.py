"""Fits the similarity from which a semantic hit is right often enough, on pairs that were judged.

For each candidate threshold the share of wrong hits is bounded by Clopper & Pearson (Biometrika, 1934), so that a few
lucky pairs do not pass; pairs that were picked for judging with different probabilities count by Horvitz & Thompson
(JASA, 1952) with Kish's effective sample size (Σw)² / Σw². A threshold is chosen among many that were looked at, so
what is fitted here is a proposal: ``semantic_bound`` proves it, on other pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

Floats = NDArray[np.float64]

_MOST_POINTS = 60
_ROUNDING = 1e-9
_TWO_SIDED = 0.95


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A question's nearest kept one after the guards: how similar it is, and whether its answer was right.

    ``similarity`` is what the layer compares with its threshold: a cosine, or a score that orders pairs in the same
    way. ``probability`` is the chance with which the pair was picked for judging, in (0, 1].
    """

    similarity: float
    right: bool
    probability: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.probability <= 1.0 or not np.isfinite(self.similarity):
            raise ValueError(f"a finite similarity and a probability in (0, 1] are needed, got {self!r}")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What serving from ``threshold`` on would have done; every interval is a two-sided 95 % one.

    ``hits`` and ``wrong`` count judged pairs; rates are weighted by 1 / probability. ``hit_rate`` is per question.
    """

    threshold: float
    hits: int
    wrong: int
    precision: float
    precision_low: float
    precision_high: float
    hit_rate: float
    hit_rate_low: float
    hit_rate_high: float


@dataclass(frozen=True, slots=True)
class ThresholdFit:
    """``threshold`` is None when none earns the target, and ``reason`` then says why.

    ``curve`` runs from the highest threshold to the lowest, at most some sixty points.
    """

    threshold: float | None
    curve: tuple[CurvePoint, ...]
    pairs: int
    reason: str


def fit_threshold(
    pairs: Sequence[JudgedPair], *, max_wrong: float, questions: int | None = None, confidence: float = 0.95
) -> ThresholdFit:
    """The lowest threshold whose share of wrong hits is under ``max_wrong`` with ``confidence`` (one-sided).

    ``questions``: how many were asked while the pairs were collected (those without any candidate included); by
    default as many as the pairs stand for. Raises ValueError for a ``max_wrong`` or ``confidence`` outside (0, 1), and
    for fewer ``questions`` than pairs.
    """
    for name, value in (("max_wrong", max_wrong), ("confidence", confidence)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must lie in (0, 1), got {value!r}")
    if questions is not None and questions < len(pairs):
        raise ValueError(f"there were {len(pairs)} pairs but only {questions} questions")
    if not pairs:
        return ThresholdFit(None, (), 0, "no judged pairs yet")
    ordered = sorted(pairs, key=lambda pair: -pair.similarity)
    similarity = np.array([pair.similarity for pair in ordered])
    weights = np.array([1.0 / pair.probability for pair in ordered])
    wrong = np.array([not pair.right for pair in ordered], dtype=np.float64)
    asked = float(questions) if questions is not None else float(weights.sum())
    ends = _ends(similarity)
    curve, uppers = _curve(similarity, weights, wrong, ends, asked, confidence)
    earning = np.flatnonzero(uppers <= max_wrong)
    if earning.size:
        return ThresholdFit(curve[int(earning[-1])].threshold, curve, len(pairs), "")
    reason = (
        f"at no threshold are fewer than {max_wrong:.2%} wrong with confidence: the best bound is {uppers.min():.2%}"
    )
    return ThresholdFit(None, curve, len(pairs), reason)


def least_pairs(max_wrong: float, confidence: float = 0.95) -> int:
    """How many judged hits, all of them right, a threshold needs at least before it can be chosen."""
    return int(np.ceil(np.log(1.0 - confidence) / np.log1p(-max_wrong)))


def clopper_pearson_upper(count: float, of: float, confidence: float) -> float:
    """The one-sided upper bound on a share of which ``count`` of ``of`` were seen (both may be effective sizes)."""
    return float(_uppers(np.array([count]), np.array([of]), confidence)[0])


def clopper_pearson_lower(count: float, of: float, confidence: float) -> float:
    """The one-sided lower bound on a share of which ``count`` of ``of`` were seen (both may be effective sizes)."""
    return 1.0 - clopper_pearson_upper(of - count, of, confidence)


def _uppers(counts: Floats, of: Floats, confidence: float) -> Floats:
    # Effective sizes carry rounding errors: a count that is all of them, but for these, leaves no room above.
    rest = of - counts
    bounds = betaincinv(counts + 1.0, np.maximum(rest, _ROUNDING), confidence)
    return np.where(rest <= _ROUNDING, 1.0, bounds)


def _ends(similarity: Floats) -> NDArray[np.intp]:
    """Where candidates end: the last of equal similarities, thinned out evenly over the pairs."""
    ends = np.flatnonzero(np.append(similarity[:-1] > similarity[1:], True))
    if ends.size <= _MOST_POINTS:
        return ends
    wanted = np.linspace(0, similarity.size - 1, _MOST_POINTS)
    return np.unique(ends[np.minimum(np.searchsorted(ends, wanted), ends.size - 1)])


def _curve(
    similarity: Floats, weights: Floats, wrong: Floats, ends: NDArray[np.intp], asked: float, confidence: float
) -> tuple[tuple[CurvePoint, ...], Floats]:
    """The points, and the one-sided upper bound on the share of wrong hits at each; shape (points,)."""
    total = np.cumsum(weights)[ends]
    effective = total**2 / np.cumsum(weights**2)[ends]
    rate = np.clip(np.cumsum(weights * wrong)[ends] / total, 0.0, 1.0)
    hit_rate = np.minimum(1.0, total / asked)
    asked_effective = asked * effective / total
    low, high = _intervals(rate, effective)
    hit_low, hit_high = _intervals(hit_rate, asked_effective)
    wrongs = np.cumsum(wrong)[ends]
    points = tuple(
        CurvePoint(
            threshold=float(similarity[end]),
            hits=int(end) + 1,
            wrong=int(wrongs[at]),
            precision=float(1.0 - rate[at]),
            precision_low=float(1.0 - high[at]),
            precision_high=float(1.0 - low[at]),
            hit_rate=float(hit_rate[at]),
            hit_rate_low=float(hit_low[at]),
            hit_rate_high=float(hit_high[at]),
        )
        for at, end in enumerate(ends)
    )
    return points, _uppers(rate * effective, effective, confidence)


def _intervals(rate: Floats, of: Floats) -> tuple[Floats, Floats]:
    tail = (1.0 + _TWO_SIDED) / 2.0
    return 1.0 - _uppers((1.0 - rate) * of, of, tail), _uppers(rate * of, of, tail)
