"""The evidence about one metric of the gate, its slices and its worst items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.statistics.comparison import Bounds, bootstrap_bounds, fewest_items, items_needed, mcnemar_worse
from tasks.statistics.gate_items import ItemResult

# A tag on fewer items is an anecdote; its items are still named among the worst.
SMALLEST_SLICE = 5
WORST_ITEMS = 5


@dataclass(frozen=True, slots=True)
class MetricRule:
    """What a metric in [0, 1], higher is better, must show: lose less than `margin`, and reach `floor` (None: none).

    `binary` adds the exact McNemar test on items whose majority of repeats changed sides.
    """

    metric: str
    margin: float = 0.05
    floor: float | None = 0.8
    binary: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.margin < 1.0:
            raise ValueError(f"margin of {self.metric!r} must lie in (0, 1), got {self.margin!r}")
        if self.floor is not None and not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"floor of {self.metric!r} must lie in [0, 1], got {self.floor!r}")


@dataclass(frozen=True, slots=True)
class Regression:
    """An item that fell: means over repeats before (`baseline`) and now (`candidate`)."""

    item: str
    metric: str
    baseline: float
    candidate: float


@dataclass(frozen=True, slots=True)
class FallenSlice:
    """A tag whose items fell by the margin or more, beyond chance over all slices of the metric."""

    tag: str
    metric: str
    items: int
    difference: float
    upper: float


@dataclass(frozen=True, slots=True)
class MetricEvidence:
    """`candidate` bounds the absolute mean; `difference` the mean of candidate − baseline by item (None: no baseline).

    Lower bounds hold at α, upper bounds at α/K over K metrics. `items_needed`: items in all that would settle an open
    comparison, None when settled or when more items would not help. `mcnemar_p` is one-sided, worse. `unconfirmed`: the
    planned repeats showed harm that the added ones did not confirm. `regressions` are means over all repeats.
    """

    rule: MetricRule
    candidate: Bounds
    baseline_mean: float | None
    difference: Bounds | None
    mcnemar_p: float | None
    fell: int
    rose: int
    not_worse: bool
    worse: bool
    above_floor: bool
    below_floor: bool
    items_needed: int | None
    regressions: tuple[Regression, ...]
    slices: tuple[FallenSlice, ...]
    unconfirmed: bool = False


def weigh_metric(
    rule: MetricRule,
    items: Sequence[ItemResult],
    rng: np.random.Generator,
    *,
    alpha: float,
    metrics: int,
    resamples: int,
) -> MetricEvidence | None:
    """Evidence from the items that have the metric; None when none has it."""
    scores = np.array([score for item in items if (score := item.candidate_mean(rule.metric)) is not None])
    if not scores.size:
        return None
    corrected = alpha / metrics
    candidate = bootstrap_bounds(scores, rng, alpha_lower=alpha, alpha_upper=corrected, worst=0.0, resamples=resamples)
    paired = [item for item in items if item.difference(rule.metric) is not None]
    differences = np.array([item.difference(rule.metric) for item in paired], dtype=np.float64)
    difference, p = None, None
    not_worse, worse, needed, unconfirmed = True, False, None, False
    if paired:
        difference = bootstrap_bounds(
            differences,
            rng,
            alpha_lower=alpha,
            alpha_upper=corrected,
            worst=-1.0,
            usual=0.0,
            resamples=resamples,
        )
        not_worse, worse = difference.lower > -rule.margin, difference.upper < -rule.margin
        if rule.binary:
            p = _majority_mcnemar(rule.metric, paired)
            # The margin is the claim; the exact test keeps a bootstrap on few discordant items honest.
            worse = worse and p <= corrected
        if worse and not _confirmed(rule, paired, rng, alpha=corrected, resamples=resamples):
            worse, unconfirmed = False, True
        if not not_worse and not worse:
            sd = float(differences.std(ddof=1)) if len(paired) > 1 else 1.0
            needed = items_needed(difference.mean, sd, rule.margin, alpha)
            needed = None if needed is None else max(needed, len(paired) + 1)
    return MetricEvidence(
        rule=rule,
        candidate=candidate,
        baseline_mean=_baseline_mean(rule.metric, paired),
        difference=difference,
        mcnemar_p=p,
        fell=int(np.count_nonzero(differences < -1e-9)),
        rose=int(np.count_nonzero(differences > 1e-9)),
        not_worse=not_worse,
        worse=worse,
        above_floor=rule.floor is None or candidate.mean >= rule.floor,
        below_floor=rule.floor is not None and candidate.upper < rule.floor,
        items_needed=needed,
        regressions=_worst(rule.metric, paired),
        slices=_fallen_slices(rule, paired, rng, alpha=alpha, resamples=resamples),
        unconfirmed=unconfirmed,
    )


def _confirmed(
    rule: MetricRule, paired: Sequence[ItemResult], rng: np.random.Generator, *, alpha: float, resamples: int
) -> bool:
    """Whether the harm is still there when added repeats count too; without any there is nothing to add."""
    if not any(item.more_candidate or item.more_baseline for item in paired):
        return True
    pairs = [means for item in paired if (means := item.repeated_means(rule.metric)) is not None]
    changes = np.array([now - before for before, now in pairs])
    bounds = bootstrap_bounds(changes, rng, alpha_lower=alpha, alpha_upper=alpha, usual=0.0, resamples=resamples)
    return bounds.upper < -rule.margin


def smallest_comparison(rule: MetricRule, alpha: float) -> int:
    """Items below which no comparison at this margin can pass, even without a single change."""
    return fewest_items(rule.margin, alpha)


def _majority_mcnemar(metric: str, paired: Sequence[ItemResult]) -> float:
    before = np.array([item.baseline_mean(metric) for item in paired], dtype=np.float64) > 0.5
    now = np.array([item.candidate_mean(metric) for item in paired], dtype=np.float64) > 0.5
    return mcnemar_worse(int(np.count_nonzero(before & ~now)), int(np.count_nonzero(now & ~before)))


def _baseline_mean(metric: str, paired: Sequence[ItemResult]) -> float | None:
    means = [mean for item in paired if (mean := item.baseline_mean(metric)) is not None]
    return float(np.mean(means)) if means else None


def _worst(metric: str, paired: Sequence[ItemResult]) -> tuple[Regression, ...]:
    fallen = [
        Regression(item.id, metric, *means)
        for item in paired
        if (means := item.repeated_means(metric)) is not None and means[1] < means[0] - 1e-9
    ]
    return tuple(sorted(fallen, key=lambda one: (one.candidate - one.baseline, one.item))[:WORST_ITEMS])


def _fallen_slices(
    rule: MetricRule, paired: Sequence[ItemResult], rng: np.random.Generator, *, alpha: float, resamples: int
) -> tuple[FallenSlice, ...]:
    by_tag: dict[str, list[float]] = defaultdict(list)
    for item in paired:
        change = item.difference(rule.metric)
        for tag in sorted(set(item.tags)) if change is not None else ():
            by_tag[tag].append(change or 0.0)
    large = {tag: np.array(values) for tag, values in sorted(by_tag.items()) if len(values) >= SMALLEST_SLICE}
    fallen = []
    for tag, values in large.items():
        if values.mean() > -rule.margin:
            continue
        level = alpha / len(large)
        bounds = bootstrap_bounds(values, rng, alpha_lower=level, alpha_upper=level, usual=0.0, resamples=resamples)
        if bounds.upper < 0.0:
            fallen.append(FallenSlice(tag, rule.metric, bounds.n, bounds.mean, bounds.upper))
    return tuple(sorted(fallen, key=lambda one: (one.difference, one.tag)))
