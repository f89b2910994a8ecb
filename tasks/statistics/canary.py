"""The canary's decision: promote, hold, roll back or inconclusive, with its evidence. Pure; the caller acts on it.

With K guardrails and level α, at every look:
- roll back when any E⁻ (canary worse than stable by more than the tolerance) reached K/α;
- promote when every E⁺ (canary not worse than stable by the margin) reached 1/α: an intersection–union test, so that
  P(promoting a version worse than the margin on any guardrail) ≤ α without a correction;
- inconclusive when the arms cannot be compared (split not as planned, values missing unequally) or time is up.
Rollback wins over promotion. A metric missing unequally neither promotes nor proves harm; the others still may.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tasks.statistics.blocks import Block, BlockSet
from tasks.statistics.guardrails import Guardrail, GuardrailEvidence, RunningGuardrail, WeighedGuardrail
from tasks.statistics.power import Expectation, expected_further_blocks, expected_users
from tasks.statistics.sample_ratio import SampleRatio, StepArrivals, check_sample_ratio

# With fewer blocks the observed values say too little about the future; the plan's own guess is used instead.
ENOUGH_TO_LOOK_AHEAD = 20


class CanaryOutcome(StrEnum):
    PROMOTE = "promote"
    HOLD = "hold"
    ROLL_BACK = "roll_back"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class CanaryPolicy:
    """What is promised and for how long it is tried; durations in seconds. Fixed before the release starts.

    Promotion waits for `min_duration`; rollback never waits. At `max_duration` an open question is inconclusive.
    """

    guardrails: tuple[Guardrail, ...]
    alpha: float = 0.05
    alpha_sample_ratio: float = 0.001
    alpha_missing: float = 0.001
    min_duration: float = 0.0
    max_duration: float = 14 * 86_400.0

    def __post_init__(self) -> None:
        if not self.guardrails:
            raise ValueError("a canary without guardrails can decide nothing: name at least one metric")
        names = [guardrail.metric for guardrail in self.guardrails]
        if len(set(names)) != len(names):
            raise ValueError(f"each guardrail needs a metric of its own, got {names}")
        for name in ("alpha", "alpha_sample_ratio", "alpha_missing"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)!r}")
        if not 0.0 <= self.min_duration <= self.max_duration:
            raise ValueError("durations must satisfy 0 <= min_duration <= max_duration")


@dataclass(frozen=True, slots=True)
class CanaryDecision:
    """The outcome, why in words, and the numbers behind it. `users_needed`: further canary users, if inconclusive."""

    outcome: CanaryOutcome
    reasons: tuple[str, ...]
    guardrails: tuple[GuardrailEvidence, ...]
    sample_ratio: SampleRatio
    blocks: int
    elapsed: float
    alpha: float
    users_needed: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; an infinite Bayes factor becomes the string "inf"."""
        data = asdict(self)
        data["outcome"] = self.outcome.value
        data["reasons"] = list(self.reasons)
        data["guardrails"] = list(data["guardrails"])
        data["sample_ratio"]["mismatch"] = self.sample_ratio.mismatch
        if math.isinf(self.sample_ratio.log_bayes_factor):
            data["sample_ratio"]["log_bayes_factor"] = "inf"
        return data


def decide(
    blocks: BlockSet | Sequence[Block],
    policy: CanaryPolicy,
    *,
    started_at: float,
    now: float,
    arrivals: Sequence[StepArrivals] = (),
    canary_users_per_day: float | None = None,
) -> CanaryDecision:
    """Decide from all blocks so far, in order. Times in seconds since the epoch; `arrivals` one entry per plan step.

    `canary_users_per_day` turns the estimate of users still needed into days.
    """
    canary = RunningCanary(policy)
    canary.add(blocks.blocks if isinstance(blocks, BlockSet) else tuple(blocks))
    return canary.decide(started_at=started_at, now=now, arrivals=arrivals, canary_users_per_day=canary_users_per_day)


class RunningCanary:
    """A canary that is looked at again and again: each look costs what is new since the one before."""

    def __init__(self, policy: CanaryPolicy) -> None:
        self._policy = policy
        self._blocks = 0
        self._evidence: tuple[GuardrailEvidence, ...] | None = None
        self._running = [
            RunningGuardrail(
                one, guardrails=len(policy.guardrails), alpha=policy.alpha, alpha_missing=policy.alpha_missing
            )
            for one in policy.guardrails
        ]

    def add(self, blocks: Sequence[Block]) -> None:
        """The next blocks, in their order."""
        self._blocks += len(blocks)
        self._evidence = None
        for one in self._running:
            one.add(blocks)

    def decide(
        self,
        *,
        started_at: float,
        now: float,
        arrivals: Sequence[StepArrivals] = (),
        canary_users_per_day: float | None = None,
    ) -> CanaryDecision:
        """The decision of this moment, as `decide` of all blocks so far."""
        policy = self._policy
        if self._evidence is None:
            self._evidence = tuple(one.evidence() for one in self._running)
        evidence = self._evidence
        ratio = check_sample_ratio(arrivals, policy.alpha_sample_ratio)
        elapsed = now - started_at
        needed: int | None = None
        trusted = [one for one in evidence if not one.missing_unequally]

        if ratio.mismatch:
            outcome, reasons = CanaryOutcome.INCONCLUSIVE, [_ratio_in_words(ratio)]
        elif harmed := [one for one in trusted if one.worse]:
            outcome, reasons = CanaryOutcome.ROLL_BACK, [one.harm_in_words() for one in harmed]
        elif len(trusted) < len(evidence):
            outcome = CanaryOutcome.INCONCLUSIVE
            reasons = [one.missing_in_words() for one in evidence if one.missing_unequally]
        elif all(one.not_worse for one in evidence) and elapsed >= policy.min_duration:
            outcome, reasons = CanaryOutcome.PROMOTE, [one.safety_in_words() for one in evidence]
        elif elapsed >= policy.max_duration:
            outcome = CanaryOutcome.INCONCLUSIVE
            open_rails = [one.weighed() for one in self._running]
            unmet = [(one.evidence, _look_ahead(one, policy.alpha)) for one in open_rails if not one.evidence.not_worse]
            reasons = [f"time is up after {elapsed / 86_400:.1f} days without a decision"]
            reasons += [_unmet_in_words(one, ahead, canary_users_per_day) for one, ahead in unmet]
            medians = [ahead.median for _, ahead in unmet]
            needed = (
                max((median for median in medians if median is not None), default=None) if None not in medians else None
            )
        else:
            outcome = CanaryOutcome.HOLD
            reasons = [one.progress_in_words() for one in evidence if not one.not_worse]
            if not reasons:
                left = policy.min_duration - elapsed
                reasons = [f"every guardrail is met; the minimum duration ends in {left / 3600:.1f} hours"]
        return CanaryDecision(outcome, tuple(reasons), evidence, ratio, self._blocks, elapsed, policy.alpha, needed)


def _look_ahead(weighed: WeighedGuardrail, alpha: float) -> Expectation:
    """Further canary users until the margin is shown if users go on as observed, or, early, as the plan expects."""
    if weighed.values.size >= ENOUGH_TO_LOOK_AHEAD:
        return expected_further_blocks(weighed.better, weighed.values, alpha=alpha)
    rail = weighed.guardrail
    mean = rail.upwards(rail.expected_mean)
    return expected_users(stable_mean=mean, delta=0.0, sd=rail.expected_sd, alpha=alpha, margin=rail.margin)


def _unmet_in_words(evidence: GuardrailEvidence, ahead: Expectation, users_per_day: float | None) -> str:
    return f"{evidence.progress_in_words()}; still needed: {ahead.in_words(users_per_day)}"


def _ratio_in_words(ratio: SampleRatio) -> str:
    total = ratio.n_canary + ratio.n_stable
    return (
        f"traffic is not split as planned: {ratio.n_canary} of {total} users saw the canary,"
        f" {ratio.expected_canary:.0f} were expected; something loses or moves users of one arm"
    )
