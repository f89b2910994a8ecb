"""The gate's verdict on a candidate before any user sees it. Pure and reproducible: the same items, the same verdict.

- fail: evidence of harm. A must-pass item failed in any repeat (pass^k), the upper bound of a difference lies below
  −margin (with added repeats counted too, where there are any), or the upper bound of a mean lies below its floor;
  upper bounds share α over the metrics.
- pass: evidence of non-inferiority on every metric (lower bound above −margin at α; intersection–union, no correction),
  every mean at its floor, no must-pass failure. Without a baseline: floors and must-pass only.
- inconclusive: neither, with the number of items that would settle it.
- error: the evaluation itself did not work (nothing scored, a declared metric never scored, too many failed items).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from tasks.statistics.gate_items import ItemResult, require_distinct
from tasks.statistics.gate_metric import MetricEvidence, MetricRule, smallest_comparison, weigh_metric

NAMED_ITEMS = 5


class GateOutcome(StrEnum):
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a candidate must show; `max_failed_share` of the items may stay unevaluated before that is an error."""

    metrics: tuple[MetricRule, ...]
    alpha: float = 0.05
    min_items: int = 20
    max_failed_share: float = 0.05
    resamples: int = 2_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("a gate without metrics can decide nothing: name at least one")
        if len({rule.metric for rule in self.metrics}) != len(self.metrics):
            raise ValueError("each metric may have one rule only")
        if not 0.0 < self.alpha < 0.5:
            raise ValueError(f"alpha must lie in (0, 0.5), got {self.alpha!r}")
        if self.min_items < 1 or self.resamples < 100:
            raise ValueError("min_items must be at least 1 and resamples at least 100")


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The outcome, why in words (decisive reasons first), and the evidence. `items_needed`: items in all, if known."""

    outcome: GateOutcome
    reasons: tuple[str, ...]
    metrics: tuple[MetricEvidence, ...]
    items: int
    failed_items: tuple[str, ...]
    must_pass_failed: tuple[str, ...]
    items_needed: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and finite numbers."""
        data = asdict(self)
        data["outcome"] = self.outcome.value
        return data


def decide_gate(items: Sequence[ItemResult], policy: GatePolicy) -> GateVerdict:
    """The verdict on evaluated items. Raises ValueError for a repeated id or a score outside [0, 1]."""
    require_distinct(items)
    failed = tuple(item.id for item in items if item.error is not None)
    scored = sorted((item for item in items if item.error is None), key=lambda item: item.id)
    broken = tuple(item.id for item in scored if item.must_pass is not None and not all(item.must_pass))
    rng = np.random.default_rng(policy.seed)
    weighed = [
        weigh_metric(rule, scored, rng, alpha=policy.alpha, metrics=len(policy.metrics), resamples=policy.resamples)
        for rule in policy.metrics
    ]
    evidence = tuple(one for one in weighed if one is not None)

    def verdict(outcome: GateOutcome, reasons: list[str], needed: int | None = None) -> GateVerdict:
        return GateVerdict(outcome, tuple(reasons), evidence, len(items), failed, broken, needed)

    if harm := _harm(broken, evidence, policy.min_items):
        return verdict(GateOutcome.FAIL, harm + _slices(evidence))
    unscored = [rule.metric for rule, one in zip(policy.metrics, weighed, strict=True) if one is None]
    if errors := _errors(items, failed, unscored, policy):
        return verdict(GateOutcome.ERROR, errors)
    doubts, needed = _doubts(items, scored, evidence, policy)
    if doubts:
        return verdict(GateOutcome.INCONCLUSIVE, doubts + _slices(evidence), needed)
    return verdict(GateOutcome.PASS, [_metric_in_words(one) for one in evidence] + _slices(evidence))


def _harm(broken: Sequence[str], evidence: Sequence[MetricEvidence], min_items: int) -> list[str]:
    reasons = [f"must-pass items failed: {_named(broken)}"] if broken else []
    for one in evidence:
        if one.difference is not None and one.worse and one.difference.n >= min_items:
            worst = "; ".join(f"{fall.item} {fall.baseline:.2f} → {fall.candidate:.2f}" for fall in one.regressions)
            reasons.append(f"worse by more than {one.rule.margin:g}: {_metric_in_words(one)}; worst items: {worst}")
        if one.below_floor and one.candidate.n >= min_items:
            reasons.append(f"below the floor of {one.rule.floor:g}: {_metric_in_words(one)}")
    return reasons


def _errors(
    items: Sequence[ItemResult], failed: Sequence[str], unscored: Sequence[str], policy: GatePolicy
) -> list[str]:
    if not items:
        return ["there are no items to judge by"]
    if len(failed) > policy.max_failed_share * len(items):
        first = next(item.error for item in items if item.error is not None)
        return [
            f"{len(failed)} of {len(items)} items could not be evaluated: {_named(failed)}; the first says: {first}"
        ]
    return [f"no item has a score for {metric!r}" for metric in unscored]


def _doubts(
    items: Sequence[ItemResult], scored: Sequence[ItemResult], evidence: Sequence[MetricEvidence], policy: GatePolicy
) -> tuple[list[str], int | None]:
    doubts: list[str] = []
    needs: list[int | None] = []
    unproven = [item.id for item in items if item.must_pass is not None and (item.error or not item.must_pass)]
    if unproven:
        doubts.append(f"must-pass items without a result: {_named(unproven)}")
    compared = any(item.baseline is not None for item in scored)
    for one in evidence:
        metric, pairs = one.rule.metric, 0 if one.difference is None else one.difference.n
        if (pairs if compared else one.candidate.n) < policy.min_items:
            kind = "compared" if compared else "scored"
            doubts.append(
                f"{metric}: {pairs if compared else one.candidate.n} items {kind}, {policy.min_items} are the least"
            )
            needs.append(max(policy.min_items, smallest_comparison(one.rule, policy.alpha) if compared else 0))
        elif not one.not_worse:
            more = (
                f"about {one.items_needed} items would settle it"
                if one.items_needed
                else "more items would hardly help"
            )
            again = "repeats did not confirm the harm of the first ones: " if one.unconfirmed else ""
            doubts.append(f"{again}not shown to be within {one.rule.margin:g}: {_metric_in_words(one)}; {more}")
            needs.append(one.items_needed)
        if not one.above_floor:
            doubts.append(f"under the floor of {one.rule.floor:g}, though not beyond chance: {_metric_in_words(one)}")
            needs.append(None)
    known = [need for need in needs if need is not None]
    return doubts, max(known) if known and len(known) == len(needs) else None


def _slices(evidence: Sequence[MetricEvidence]) -> list[str]:
    return [
        f"slice {fall.tag!r} fell on {fall.metric} by {-fall.difference:.3f} over {fall.items} items"
        for one in evidence
        for fall in one.slices
    ]


def _metric_in_words(one: MetricEvidence) -> str:
    text = f"{one.rule.metric} {one.candidate.mean:.3f}"
    if one.difference is None or one.baseline_mean is None:
        return f"{text} over {one.candidate.n} items"
    text += f" against {one.baseline_mean:.3f} over {one.difference.n} items"
    text += f", difference {one.difference.mean:+.3f} [{one.difference.lower:+.3f}, {one.difference.upper:+.3f}]"
    return f"{text}, {one.fell} fell, {one.rose} rose"


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED_ITEMS} more" if len(ids) > NAMED_ITEMS else ""
    return ", ".join(ids[:NAMED_ITEMS]) + more
