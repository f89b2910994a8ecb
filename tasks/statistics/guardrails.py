"""One guardrail of a canary: a metric, what it promises, and the evidence of the blocks about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.statistics.blocks import Block
from tasks.statistics.eprocess import (
    Direction,
    EProcess,
    FloatArray,
    block_value,
    boundary_mean,
    log_e_paths,
    log_threshold,
)


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A metric in [0, 1] that a release must not harm.

    Scores are better when higher; failures and exceeded latency or cost limits (1 = failed, exceeded) set
    `lower_is_better`. `margin` δ > 0 is the loss that promotion must rule out; `tolerance` ≥ 0 the loss that does not
    yet mean rollback. `expected_mean` and `expected_sd` (None: binary) describe stable users on the metric's own
    scale; they serve estimates of traffic only, never a decision.
    """

    metric: str
    margin: float = 0.05
    tolerance: float = 0.0
    lower_is_better: bool = False
    expected_mean: float = 0.8
    expected_sd: float | None = 0.2

    def __post_init__(self) -> None:
        if not 0.0 < self.margin < 1.0:
            raise ValueError(f"margin of {self.metric!r} must lie in (0, 1), got {self.margin!r}")
        if not 0.0 <= self.tolerance < 1.0:
            raise ValueError(f"tolerance of {self.metric!r} must lie in [0, 1), got {self.tolerance!r}")

    def upwards(self, value: float) -> float:
        """The value on the scale where higher is better."""
        return 1.0 - value if self.lower_is_better else value


@dataclass(frozen=True, slots=True)
class GuardrailEvidence:
    """Numbers of one guardrail after the blocks so far. Means are on the metric's own scale; None without blocks.

    `log_e_worse` and `log_e_better` are current values, `…_max` the highest so far, which decide; `log_e_missing`
    compares how often the arms lack a value (two-sided), `missing_canary`/`missing_stable` count users.
    """

    metric: str
    lower_is_better: bool
    blocks: int
    blocks_left_out: int
    missing_canary: int
    missing_stable: int
    canary_mean: float | None
    stable_mean: float | None
    margin: float
    tolerance: float
    log_e_worse: float
    log_e_worse_max: float
    log_e_better: float
    log_e_better_max: float
    log_e_missing_max: float
    log_threshold_worse: float
    log_threshold_better: float
    log_threshold_missing: float

    @property
    def worse(self) -> bool:
        """Evidence of harm beyond the tolerance."""
        return self.log_e_worse_max >= self.log_threshold_worse

    @property
    def not_worse(self) -> bool:
        """Evidence that the canary is not worse than stable by the margin."""
        return self.log_e_better_max >= self.log_threshold_better

    @property
    def missing_unequally(self) -> bool:
        return self.log_e_missing_max >= self.log_threshold_missing

    def means_in_words(self) -> str:
        """ "score 0.751 on canary, 0.802 on stable over 120 blocks"."""
        if self.canary_mean is None or self.stable_mean is None:
            return f"{self.metric}: no complete block yet"
        arms = f"{self.canary_mean:.3f} on canary, {self.stable_mean:.3f} on stable"
        return f"{self.metric} {arms} over {self.blocks} blocks"

    def harm_in_words(self) -> str:
        beyond = f" by more than {self.tolerance:g}" if self.tolerance else ""
        reached = _reached(self.log_e_worse_max, self.log_threshold_worse)
        return f"canary is worse{beyond}: {self.means_in_words()} ({reached})"

    def safety_in_words(self) -> str:
        reached = _reached(self.log_e_better_max, self.log_threshold_better)
        return f"canary is not worse by {self.margin:g}: {self.means_in_words()} ({reached})"

    def progress_in_words(self) -> str:
        reached = _reached(self.log_e_better_max, self.log_threshold_better)
        return f"not yet shown to be within {self.margin:g}: {self.means_in_words()} ({reached})"

    def missing_in_words(self) -> str:
        return (
            f"{self.metric} is missing unequally: {self.missing_canary} canary and {self.missing_stable} stable users"
            " in blocks have no value, so the arms cannot be compared on it"
        )


@dataclass(frozen=True, slots=True)
class WeighedGuardrail:
    """Evidence with what a look ahead needs: the e-process of the margin and the block values, shape (blocks,)."""

    guardrail: Guardrail
    evidence: GuardrailEvidence
    better: EProcess
    values: FloatArray


def weigh(
    guardrail: Guardrail, blocks: Sequence[Block], *, guardrails: int, alpha: float, alpha_missing: float
) -> WeighedGuardrail:
    """The evidence about one of so many `guardrails` that share α, from blocks in their order."""
    found: list[float] = []
    canary_sum = stable_sum = 0.0
    for block in blocks:
        pair = block.pair(guardrail.metric)
        if pair is None:
            continue
        canary, stable = pair
        canary_sum, stable_sum = canary_sum + canary, stable_sum + stable
        found.append(block_value(guardrail.upwards(canary), guardrail.upwards(stable)))
    values = np.asarray(found, dtype=np.float64)
    worse = EProcess(Direction.WORSE, boundary_mean(-guardrail.tolerance)).after(values)
    better = EProcess(Direction.BETTER, boundary_mean(-guardrail.margin)).after(values)
    missing_canary, missing_stable, log_e_missing = _missing(guardrail.metric, blocks)
    evidence = GuardrailEvidence(
        metric=guardrail.metric,
        lower_is_better=guardrail.lower_is_better,
        blocks=len(found),
        blocks_left_out=len(blocks) - len(found),
        missing_canary=missing_canary,
        missing_stable=missing_stable,
        canary_mean=canary_sum / len(found) if found else None,
        stable_mean=stable_sum / len(found) if found else None,
        margin=guardrail.margin,
        tolerance=guardrail.tolerance,
        log_e_worse=worse.log_e,
        log_e_worse_max=worse.log_e_max,
        log_e_better=better.log_e,
        log_e_better_max=better.log_e_max,
        log_e_missing_max=log_e_missing,
        log_threshold_worse=log_threshold(alpha, guardrails),
        log_threshold_better=log_threshold(alpha),
        log_threshold_missing=log_threshold(alpha_missing, guardrails),
    )
    return WeighedGuardrail(guardrail, evidence, better, values)


def _missing(metric: str, blocks: Sequence[Block]) -> tuple[int, int, float]:
    """Users without a value by arm, and the highest log E that the arms lack values unequally.

    "Missing" is itself a binary metric of every block, so the same betting process tests it, at every look and
    exactly; a Fisher test repeated after every user would not hold its level. The mean of both directions' E is
    an e-process again.
    """
    canaries = stables = 0
    values = np.empty(len(blocks))
    for index, block in enumerate(blocks):
        canary = block.canary.value(metric) is None
        stable = sum(user.value(metric) is None for user in block.stable)
        canaries, stables = canaries + canary, stables + stable
        values[index] = block_value(float(canary), stable / len(block.stable))
    more, less = (log_e_paths(values, EProcess(direction, 0.5)) for direction in (Direction.BETTER, Direction.WORSE))
    two_sided = np.logaddexp(more, less) - math.log(2.0)
    return canaries, stables, float(two_sided.max(initial=0.0))


def _reached(log_e: float, threshold: float) -> str:
    """ "E = 23.1, decided at 20"; an E beyond a million as a power of ten."""
    e = f"{math.exp(log_e):.3g}" if log_e < math.log(1e6) else f"1e{log_e / math.log(10.0):.0f}"
    return f"E = {e}, decided at {math.exp(threshold):.3g}"
