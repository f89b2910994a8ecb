"""One guardrail of a canary: a metric, what it promises, and the evidence of the blocks about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.statistics.blocks import Block
from tasks.statistics.eprocess import (
    FEW,
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


class RunningGuardrail:
    """The evidence about one of so many `guardrails` that share α, block by block or all at once."""

    def __init__(self, guardrail: Guardrail, *, guardrails: int, alpha: float, alpha_missing: float) -> None:
        self._guardrail = guardrail
        self._threshold_worse = log_threshold(alpha, guardrails)
        self._threshold_better = log_threshold(alpha)
        self._threshold_missing = log_threshold(alpha_missing, guardrails)
        self._worse = EProcess(Direction.WORSE, boundary_mean(-guardrail.tolerance))
        self._better = EProcess(Direction.BETTER, boundary_mean(-guardrail.margin))
        self._missing = MissingValues()
        self._values: list[float] = []
        self._canary_sum = self._stable_sum = 0.0

    def add(self, blocks: Sequence[Block]) -> None:
        """The next blocks, in their order."""
        rail, found = self._guardrail, list[float]()
        missing: list[tuple[bool, int, int]] = []
        for block in blocks:
            canary, stable = block.values(rail.metric)
            missing.append((canary is None, len(block.stable) - len(stable), len(block.stable)))
            if (pair := block.compared(canary, stable)) is not None:
                self._canary_sum, self._stable_sum = self._canary_sum + pair[0], self._stable_sum + pair[1]
                found.append(block_value(rail.upwards(pair[0]), rail.upwards(pair[1])))
        values = np.asarray(found, dtype=np.float64)
        self._worse, self._better = self._worse.after(values), self._better.after(values)
        self._missing.add(missing)
        self._values += found

    def evidence(self) -> GuardrailEvidence:
        """What the blocks so far say."""
        rail, used, missing = self._guardrail, len(self._values), self._missing
        return GuardrailEvidence(
            metric=rail.metric,
            lower_is_better=rail.lower_is_better,
            blocks=used,
            blocks_left_out=missing.blocks - used,
            missing_canary=missing.canary,
            missing_stable=missing.stable,
            canary_mean=self._canary_sum / used if used else None,
            stable_mean=self._stable_sum / used if used else None,
            margin=rail.margin,
            tolerance=rail.tolerance,
            log_e_worse=self._worse.log_e,
            log_e_worse_max=self._worse.log_e_max,
            log_e_better=self._better.log_e,
            log_e_better_max=self._better.log_e_max,
            log_e_missing_max=missing.log_e_max,
            log_threshold_worse=self._threshold_worse,
            log_threshold_better=self._threshold_better,
            log_threshold_missing=self._threshold_missing,
        )

    def weighed(self) -> WeighedGuardrail:
        """The evidence with what a look ahead needs."""
        return WeighedGuardrail(self._guardrail, self.evidence(), self._better, np.asarray(self._values))


def weigh(
    guardrail: Guardrail, blocks: Sequence[Block], *, guardrails: int, alpha: float, alpha_missing: float
) -> WeighedGuardrail:
    """The evidence about one of so many `guardrails` that share α, from blocks in their order."""
    running = RunningGuardrail(guardrail, guardrails=guardrails, alpha=alpha, alpha_missing=alpha_missing)
    running.add(blocks)
    return running.weighed()


class MissingValues:
    """Users without a value by arm, and the highest log E that the arms lack values unequally.

    "Missing" is itself a binary metric of every block, so the same betting process tests it, at every look and
    exactly; a Fisher test repeated after every user would not hold its level. The mean of both directions' E is
    an e-process again.
    """

    def __init__(self) -> None:
        self._more, self._less = EProcess(Direction.BETTER, 0.5), EProcess(Direction.WORSE, 0.5)
        self.blocks = self.canary = self.stable = 0
        self.log_e_max = 0.0

    def add(self, blocks: Sequence[tuple[bool, int, int]]) -> None:
        """The next blocks, in their order: whether the canary's value is missing, how many stable ones of how many."""
        found: list[float] = []
        for canary, stable, k in blocks:
            self.canary, self.stable = self.canary + canary, self.stable + stable
            found.append(block_value(float(canary), stable / k))
        self.blocks += len(found)
        if len(found) > FEW:
            values = np.array(found)
            more, less = log_e_paths(values, self._more), log_e_paths(values, self._less)
            self.log_e_max = max(self.log_e_max, float(np.logaddexp(more, less).max()) - math.log(2.0))
            self._more, self._less = self._more.after(values), self._less.after(values)
            return
        for value in found:
            self._more, self._less = self._more.update(value), self._less.update(value)
            # log((e^a + e^b) / 2) without an overflow
            high, low = max(self._more.log_e, self._less.log_e), min(self._more.log_e, self._less.log_e)
            self.log_e_max = max(self.log_e_max, high + math.log1p(math.exp(low - high)) - math.log(2.0))


def _reached(log_e: float, threshold: float) -> str:
    """ "E = 23.1, decided at 20"; an E beyond a million as a power of ten."""
    e = f"{math.exp(log_e):.3g}" if log_e < math.log(1e6) else f"1e{log_e / math.log(10.0):.0f}"
    return f"E = {e}, decided at {math.exp(threshold):.3g}"
