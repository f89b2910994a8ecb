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
from scipy.stats import beta

_MOST_POINTS = 60
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
    curve: list[CurvePoint] = []
    chosen: float | None = None
    least_upper = 1.0
    for last in _places(similarity):
        point, upper = _point(similarity[last], weights[: last + 1], wrong[: last + 1], asked, confidence)
        curve.append(point)
        least_upper = min(least_upper, upper)
        if upper <= max_wrong:
            chosen = point.threshold
    if chosen is not None:
        return ThresholdFit(chosen, tuple(curve), len(pairs), "")
    reason = (
        f"at no threshold are fewer than {max_wrong:.2%} wrong with confidence: the best bound is {least_upper:.2%}"
    )
    return ThresholdFit(None, tuple(curve), len(pairs), reason)


def least_pairs(max_wrong: float, confidence: float = 0.95) -> int:
    """How many judged hits, all of them right, a threshold needs at least before it can be chosen."""
    return int(np.ceil(np.log(1.0 - confidence) / np.log1p(-max_wrong)))


def _places(similarity: NDArray[np.float64]) -> list[int]:
    """Where candidates end: the last of equal similarities, thinned out evenly over the pairs."""
    ends = np.flatnonzero(np.append(similarity[:-1] > similarity[1:], True))
    if ends.size <= _MOST_POINTS:
        return [int(end) for end in ends]
    wanted = np.linspace(0, similarity.size - 1, _MOST_POINTS)
    return sorted({int(ends[min(np.searchsorted(ends, place), ends.size - 1)]) for place in wanted})


def _point(
    threshold: float, weights: NDArray[np.float64], wrong: NDArray[np.float64], asked: float, confidence: float
) -> tuple[CurvePoint, float]:
    """The point of the curve, and the one-sided upper bound on the share of wrong hits."""
    total = float(weights.sum())
    effective = total**2 / float((weights**2).sum())
    rate = float((weights * wrong).sum()) / total
    low, high = _interval(rate * effective, effective, _TWO_SIDED)
    hit_rate = min(1.0, total / asked)
    hit_low, hit_high = _interval(hit_rate * asked * effective / total, asked * effective / total, _TWO_SIDED)
    point = CurvePoint(
        threshold=float(threshold),
        hits=int(weights.size),
        wrong=int(wrong.sum()),
        precision=1.0 - rate,
        precision_low=1.0 - high,
        precision_high=1.0 - low,
        hit_rate=hit_rate,
        hit_rate_low=hit_low,
        hit_rate_high=hit_high,
    )
    return point, clopper_pearson_upper(rate * effective, effective, confidence)


def clopper_pearson_upper(count: float, of: float, confidence: float) -> float:
    """The one-sided upper bound on a share of which ``count`` of ``of`` were seen (both may be effective sizes)."""
    return 1.0 if count >= of else float(beta.ppf(confidence, count + 1.0, of - count))


def clopper_pearson_lower(count: float, of: float, confidence: float) -> float:
    """The one-sided lower bound on a share of which ``count`` of ``of`` were seen (both may be effective sizes)."""
    return 0.0 if count <= 0.0 else float(beta.ppf(1.0 - confidence, count, of - count + 1.0))


def _interval(count: float, of: float, confidence: float) -> tuple[float, float]:
    tail = (1.0 + confidence) / 2.0
    return clopper_pearson_lower(count, of, tail), clopper_pearson_upper(count, of, tail)
