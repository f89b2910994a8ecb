"""Is one arm better than another? An answer that is valid at every look, from blocks of users.

Two betting e-processes (see ``eprocess``) at a difference of 0, one for "better" and one for "worse": with ``tests``
statements that share α, P(any wrong one, ever) ≤ α. The interval of the difference holds at every look too: it leaves
out each difference that the e-processes with that boundary have ruled out (Waudby-Smith & Ramdas, JRSS B, 2024, on
confidence sequences by betting).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

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

_GRID = 0.005


class Claim(StrEnum):
    """What may be said of an arm beside the baseline."""

    BETTER = "better"
    WORSE = "worse"
    NOT_YET = "not yet"


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm beside the baseline on one metric, higher being better.

    ``difference`` (arm − baseline) is None without blocks; ``lower`` and ``upper`` bound it at every look at once.
    ``log_e_…`` are the highest so far, which decide.
    """

    claim: Claim
    blocks: int
    difference: float | None
    lower: float
    upper: float
    log_e_better: float
    log_e_worse: float
    log_threshold: float

    def in_words(self, arm: str, baseline: str) -> str:
        """ "1.1.0 is better than 1.0.0: +0.041 (0.012 to 0.070 at every look) over 310 blocks (E = 52, …)"."""
        if self.difference is None:
            return f"{arm} beside {baseline}: no complete block of users yet"
        says = {
            Claim.BETTER: f"{arm} is better than {baseline}",
            Claim.WORSE: f"{baseline} is better than {arm}",
            Claim.NOT_YET: f"{arm} beside {baseline}: not yet decided",
        }[self.claim]
        highest = max(self.log_e_better, self.log_e_worse)
        e = f"{math.exp(highest):.3g}" if highest < math.log(1e6) else f"1e{highest / math.log(10.0):.0f}"
        bounds = f"{self.lower:+.3f} to {self.upper:+.3f} at every look"
        needed = f"E = {e}, decided at {math.exp(self.log_threshold):.3g}"
        return f"{says}: {self.difference:+.3f} ({bounds}) over {self.blocks} blocks of users ({needed})"


def block_values(blocks: Sequence[Block], metric: str) -> FloatArray:
    """The observations (T − C + 1) / 2 of the blocks that have the metric on both sides, in order."""
    pairs = [pair for block in blocks if (pair := block.pair(metric)) is not None]
    return np.array([block_value(arm, baseline) for arm, baseline in pairs], dtype=np.float64)


def compare(values: FloatArray, *, alpha: float, tests: int) -> Comparison:
    """What may be said from block values, shape (n,) in [0, 1], by one of so many ``tests`` that share α."""
    needed = log_threshold(alpha, tests)
    if values.size == 0:
        return Comparison(Claim.NOT_YET, 0, None, -1.0, 1.0, 0.0, 0.0, needed)
    better = EProcess(Direction.BETTER, 0.5).after(values)
    worse = EProcess(Direction.WORSE, 0.5).after(values)
    return Comparison(
        claim=_claim(values, needed),
        blocks=values.size,
        difference=float(2.0 * values.mean() - 1.0),
        lower=_bound(values, Direction.BETTER, needed),
        upper=_bound(values, Direction.WORSE, needed),
        log_e_better=better.log_e_max,
        log_e_worse=worse.log_e_max,
        log_threshold=needed,
    )


def _claim(values: FloatArray, needed: float) -> Claim:
    """The claim that was decided first: what later data say against it does not take it back."""
    first: dict[Claim, int] = {}
    for claim, direction in ((Claim.BETTER, Direction.BETTER), (Claim.WORSE, Direction.WORSE)):
        reached = np.flatnonzero(log_e_paths(values, EProcess(direction, 0.5)) >= needed)
        if reached.size:
            first[claim] = int(reached[0])
    return min(first, key=lambda one: first[one]) if first else Claim.NOT_YET


def _bound(values: FloatArray, direction: Direction, needed: float) -> float:
    """The difference next to the last that the e-processes of this direction have ruled out, from its end on."""
    end = -1.0 if direction is Direction.BETTER else 1.0
    step = -end * _GRID
    reached = end
    for count in range(1, round(2.0 / _GRID)):
        difference = end + count * step
        paths = log_e_paths(values, EProcess(direction, boundary_mean(difference)))
        if paths.max() < needed:
            break
        reached = difference
    return reached
