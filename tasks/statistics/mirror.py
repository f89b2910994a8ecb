"""What mirrored calls decide: go on to the first users, wait, refuse, or inconclusive. Pure; the caller acts on it.

Level α is shared by the deciding metrics by their weights. At every look: refuse when the sign test of any of them
reached 1 over its share, so that P(refusing a candidate that is no worse on any question) ≤ α; go on when enough pairs
were compared and none did;
inconclusive when there were too few in time. Going on proves nothing yet: that is for the canary to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tasks.statistics.paired_signs import PairedEvidence, PairedRule, weigh_pairs


class MirrorOutcome(StrEnum):
    GO_ON = "go_on"
    HOLD = "hold"
    REFUSE = "refuse"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class MirrorPolicy:
    """Fixed before the first call; ``max_duration`` in seconds."""

    rules: tuple[PairedRule, ...]
    alpha: float
    needed: int
    max_duration: float

    def __post_init__(self) -> None:
        if not any(rule.decides for rule in self.rules):
            raise ValueError("a mirror without a deciding metric can refuse nothing")
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(f"alpha must lie in (0, 1), got {self.alpha!r}")


@dataclass(frozen=True, slots=True)
class MirrorDecision:
    """The outcome, why in words, and the numbers behind it."""

    outcome: MirrorOutcome
    reasons: tuple[str, ...]
    metrics: tuple[PairedEvidence, ...]
    pairs: int
    needed: int
    elapsed: float
    alpha: float

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        data = asdict(self)
        return {**data, "outcome": self.outcome.value, "reasons": list(self.reasons), "metrics": list(data["metrics"])}


def decide_mirror(
    values: Mapping[str, Sequence[tuple[float, float]]], policy: MirrorPolicy, *, pairs: int, elapsed: float
) -> MirrorDecision:
    """Decide from ``values`` by metric, each (candidate, stable) in a fixed order; ``pairs`` were compared so far.

    A metric without values refuses nobody. ``elapsed`` in seconds.
    """
    total = sum(rule.weight for rule in policy.rules if rule.decides)
    weighed = tuple(
        weigh_pairs(rule, values.get(rule.metric, ()), level=policy.alpha * min(1.0, rule.weight / total))
        for rule in policy.rules
    )
    if harmed := [one for one in weighed if one.worse]:
        outcome, reasons = MirrorOutcome.REFUSE, [f"worse on mirrored calls: {one.in_words()}" for one in harmed]
    elif pairs >= policy.needed:
        outcome, reasons = MirrorOutcome.GO_ON, [f"no harm seen on {pairs} mirrored calls, which no user saw"]
    elif elapsed >= policy.max_duration:
        hours = elapsed / 3600
        outcome = MirrorOutcome.INCONCLUSIVE
        reasons = [f"only {pairs} of {policy.needed} mirrored calls could be compared in {hours:.1f} hours"]
    else:
        outcome, reasons = MirrorOutcome.HOLD, [f"{pairs} of {policy.needed} mirrored calls compared, no harm seen"]
    return MirrorDecision(outcome, tuple(reasons), weighed, pairs, policy.needed, elapsed, policy.alpha)
