"""How far a judge can be trusted: its agreement with labels, and what its errors do to a margin.

- Cohen's κ = (pₒ − pₑ) / (1 − pₑ) (Cohen, "A coefficient of agreement for nominal scales", 1960), with the standard
  error of Fleiss, Cohen & Everitt ("Large sample standard errors of kappa and weighted kappa", 1969, eq. 13). Half an
  observation is added to each cell for the error alone, as Agresti does for proportions: 30 of 30 right would otherwise
  have an interval of no width.
- Sensitivity: the share of right answers that the judge calls right; specificity: of wrong ones that it calls wrong.
  Intervals by Clopper & Pearson (1934).
- A share of right answers π is seen as π·J + (1 − specificity), J = sensitivity + specificity − 1 (Youden, "Index for
  rating diagnostic tests", 1950; Rogan & Gladen, "Estimating prevalence from the results of a screening test", 1978).
  So a true difference Δ of two versions is seen as J·Δ: a gate that rules out a *seen* loss of δ rules out a true one
  of δ / J only, and needs 1 / J² times as many items for the same certainty about a true one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import ndtri

from tasks.statistics.semantic_threshold import clopper_pearson_lower, clopper_pearson_upper

CONFIDENCE = 0.95
WEAKEST = 0.5
"""Below this J, a loss of more than twice the margin may look like one within it."""

L = TypeVar("L", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with a two-sided interval; ``of`` is how many examples it is from."""

    value: float
    low: float
    high: float
    of: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """``margin_carried`` is the true loss that a seen loss of the margin may stand for, by the lower bound of J; None:
    without bound. ``items_factor``: how many times as many items the judge needs as one without errors."""

    examples: int
    agreement: float
    kappa: Interval
    sensitivity: Interval | None
    specificity: Interval | None
    youden: Interval | None
    margin: float
    margin_carried: float | None
    items_factor: float | None
    warnings: tuple[str, ...]

    @property
    def carries(self) -> bool:
        """Whether the judge is strong enough for the margin."""
        return not self.warnings


def kappa(pairs: Sequence[tuple[L, L]], confidence: float = CONFIDENCE) -> Interval:
    """Of (label, judged) over any categories. Where all are of one category κ says nothing: 0, from −1 to 1.

    Raises ValueError without examples.
    """
    if not pairs:
        raise ValueError("agreement needs at least one example")
    names = sorted({name for pair in pairs for name in pair}, key=str)
    if len(names) == 1:
        return Interval(0.0, -1.0, 1.0, len(pairs))
    place = {name: at for at, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)))
    for label, judged in pairs:
        counts[place[label], place[judged]] += 1.0
    value = _kappa(counts / counts.sum())
    smooth = counts + 0.5
    spread = float(ndtri((1.0 + confidence) / 2.0)) * _error(smooth / smooth.sum(), len(pairs))
    middle = _kappa(smooth / smooth.sum())
    return Interval(value, max(-1.0, min(value, middle - spread)), min(1.0, max(value, middle + spread)), len(pairs))


def share(count: int, of: int, confidence: float = CONFIDENCE) -> Interval:
    """A share with its two-sided interval. Raises ValueError for none."""
    if of < 1:
        raise ValueError("a share needs at least one example")
    side = (1.0 + confidence) / 2.0
    return Interval(count / of, clopper_pearson_lower(count, of, side), clopper_pearson_upper(count, of, side), of)


def calibrate(pairs: Sequence[tuple[bool, bool]], margin: float) -> Calibration:
    """Of (label: is right, judged right) pairs. Raises ValueError without examples."""
    right = [judged for label, judged in pairs if label]
    wrong = [judged for label, judged in pairs if not label]
    agreement = kappa(pairs)
    sensitivity = share(sum(right), len(right)) if right else None
    specificity = share(len(wrong) - sum(wrong), len(wrong)) if wrong else None
    youden = _youden(right, wrong)
    warnings, carried = _weakness(agreement, youden, margin, bool(right), bool(wrong))
    factor = 1.0 / youden.value**2 if youden is not None and youden.value > 0.0 else None
    same = sum(label == judged for label, judged in pairs) / len(pairs)
    return Calibration(
        len(pairs), same, agreement, sensitivity, specificity, youden, margin, carried, factor, tuple(warnings)
    )


def _youden(right: Sequence[bool], wrong: Sequence[bool]) -> Interval | None:
    """J; each of its two shares takes half of the error probability (Bonferroni)."""
    if not right or not wrong:
        return None
    each = 1.0 - (1.0 - CONFIDENCE) / 2.0
    one, other = share(sum(right), len(right), each), share(len(wrong) - sum(wrong), len(wrong), each)
    of = min(len(right), len(wrong))
    return Interval(one.value + other.value - 1.0, one.low + other.low - 1.0, one.high + other.high - 1.0, of)


def _weakness(
    agreement: Interval, youden: Interval | None, margin: float, has_right: bool, has_wrong: bool
) -> tuple[list[str], float | None]:
    if youden is None:
        missing = "wrong" if has_right else "right"
        return [f"no example is labelled {missing}: what the judge misses cannot be known"], None
    warnings = []
    if agreement.low <= 0.0:
        warnings.append(f"agreement may be chance: κ {agreement.value:.2f} from {agreement.low:.2f} on")
    if youden.low <= 0.0:
        warnings.append("the judge may not tell right from wrong at all: no margin is carried; label more examples")
        return warnings, None
    carried = margin / youden.low
    if youden.low < WEAKEST:
        warnings.append(
            f"too weak for a margin of {margin:g}: sensitivity + specificity − 1 may be {youden.low:.2f}, so that a "
            f"loss seen as {margin:g} may be one of {carried:.3f}. Label more examples, sharpen the criteria, use a "
            "stronger judge, or lean on assertions"
        )
    return warnings, carried


def _kappa(p: np.ndarray) -> float:
    expected = float(p.sum(axis=1) @ p.sum(axis=0))
    return (float(np.trace(p)) - expected) / (1.0 - expected)


def _error(p: np.ndarray, n: int) -> float:
    """The standard error of κ on shares ``p`` (labels in rows) of ``n`` examples; Fleiss, Cohen & Everitt, eq. 13."""
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, expected = float(np.trace(p)), float(rows @ columns)
    diagonal = float(np.sum(np.diag(p) * ((1 - expected) - (columns + rows) * (1 - observed)) ** 2))
    others = p * (columns[:, None] + rows[None, :]) ** 2
    off = (1 - observed) ** 2 * float(others.sum() - np.trace(others))
    rest = (observed * expected - 2 * expected + observed) ** 2
    return math.sqrt(max(0.0, diagonal + off - rest)) / ((1 - expected) ** 2 * math.sqrt(n))
