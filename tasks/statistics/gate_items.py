"""What the gate's evaluation hands to its decision: the scores of one item under both versions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One item of the dataset, evaluated.

    `candidate` and `baseline` map a metric to its scores in [0, 1], one per planned repeat, higher is better;
    `baseline` is None when no version is in production. `more_candidate` and `more_baseline` are the scores of repeats
    that were added because of what the planned ones showed: they may only confirm a fall (see `repeats.py`).
    `must_pass` holds one verdict per repeat of the candidate when the item
    belongs to the must-pass set, else None. `error` says why an item could not be evaluated; its scores are then
    ignored.
    A candidate's own failure to answer is a score of 0, not an error.
    """

    id: str
    candidate: Mapping[str, Sequence[float]] = field(default_factory=dict)
    baseline: Mapping[str, Sequence[float]] | None = None
    tags: tuple[str, ...] = ()
    must_pass: tuple[bool, ...] | None = None
    more_candidate: Mapping[str, Sequence[float]] = field(default_factory=dict)
    more_baseline: Mapping[str, Sequence[float]] = field(default_factory=dict)
    error: str | None = None

    def candidate_mean(self, metric: str) -> float | None:
        """The mean over repeats, or None when the item has no such score; ValueError outside [0, 1]."""
        return self._mean(self.candidate, metric)

    def baseline_mean(self, metric: str) -> float | None:
        """As `candidate_mean`, for the version in production."""
        return None if self.baseline is None else self._mean(self.baseline, metric)

    def difference(self, metric: str) -> float | None:
        """Candidate minus baseline, each averaged over its repeats; None without both."""
        candidate, baseline = self.candidate_mean(metric), self.baseline_mean(metric)
        return None if candidate is None or baseline is None else candidate - baseline

    def repeated_means(self, metric: str) -> tuple[float, float] | None:
        """(baseline, candidate) over all repeats, planned and added; None without both."""
        candidate = self._mean(_joined(self.candidate, self.more_candidate, metric), metric)
        baseline = self._mean(_joined(self.baseline or {}, self.more_baseline, metric), metric)
        return None if candidate is None or baseline is None else (baseline, candidate)

    def _mean(self, scores: Mapping[str, Sequence[float]], metric: str) -> float | None:
        repeats = scores.get(metric, ())
        if not repeats:
            return None
        for score in repeats:
            if not 0.0 <= score <= 1.0:
                raise ValueError(f"item {self.id!r}: {metric!r} must lie in [0, 1], got {score!r}")
        return math.fsum(repeats) / len(repeats)


def _joined(
    planned: Mapping[str, Sequence[float]], more: Mapping[str, Sequence[float]], metric: str
) -> dict[str, Sequence[float]]:
    return {metric: (*planned.get(metric, ()), *more.get(metric, ()))}


def require_distinct(items: Iterable[ItemResult]) -> None:
    """Raises ValueError naming an id that occurs twice: it would count as two independent items."""
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise ValueError(f"item {item.id!r} occurs twice; each item is one unit of evidence")
        seen.add(item.id)
