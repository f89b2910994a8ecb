"""Blocks of users: one canary user beside k concurrent stable users, none of them used twice.

Who is compared with whom follows from arrival times and arms alone, never from outcomes, so that each block
value has the mean (1 + d) / 2 given all blocks before it: what the e-process needs to be valid. Reusing stable
users across blocks breaks exactly that (31–43 % false alarms in A/A simulations where distinct users give 1 %).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Arm = Literal["stable", "canary"]


@dataclass(frozen=True, slots=True)
class UserEvidence:
    """What one user saw of one arm within the window that opens at `first_call_at` (seconds since the epoch).

    `metrics` are means over that user's eligible calls, each in [0, 1]; None, NaN or an absent name means that no
    value arrived before the window closed.
    """

    user: str
    arm: Arm
    first_call_at: float
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    def value(self, metric: str) -> float | None:
        """The metric, or None when missing; raises ValueError when it lies outside [0, 1]."""
        value = self.metrics.get(metric)
        if value is None or math.isnan(value):
            return None
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"metric {metric!r} of user {self.user!r} must lie in [0, 1], got {value!r}")
        return float(value)


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """How blocks are formed; fixed before the first call is seen.

    `window` seconds of evidence per user; `k` stable users per block; `concurrency` seconds that the members'
    first calls may lie apart (default: one window). `values_needed` of the k stable users must have a metric for the
    block to count for it (default: all k; fewer suits sparse feedback).
    """

    window: float
    k: int = 4
    concurrency: float | None = None
    values_needed: int | None = None

    def __post_init__(self) -> None:
        if self.window <= 0 or (self.concurrency is not None and self.concurrency <= 0):
            raise ValueError("window and concurrency must be positive seconds")
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        if self.values_needed is not None and not 1 <= self.values_needed <= self.k:
            raise ValueError(f"values_needed must lie between 1 and k={self.k}, got {self.values_needed}")


@dataclass(frozen=True, slots=True)
class Block:
    """One comparison; `index` is its place in the order in which blocks became complete."""

    index: int
    canary: UserEvidence
    stable: tuple[UserEvidence, ...]
    values_needed: int

    def values(self, metric: str) -> tuple[float | None, list[float]]:
        """(canary value, the stable values that are there)."""
        return self.canary.value(metric), [value for user in self.stable if (value := user.value(metric)) is not None]

    def pair(self, metric: str) -> tuple[float, float] | None:
        """(canary value, mean of the stable values), or None when the block is left out for this metric."""
        return self.compared(*self.values(metric))

    def compared(self, canary: float | None, stable: Sequence[float]) -> tuple[float, float] | None:
        """As `pair`, of values that are known."""
        if canary is None or len(stable) < self.values_needed:
            return None
        return canary, min(1.0, math.fsum(stable) / len(stable))


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Records that are in no block, by reason; they are reported, never tested."""

    window_open: int = 0
    other_arm_first: int = 0
    repeated: int = 0
    waiting: int = 0
    not_concurrent_canary: int = 0
    not_concurrent_stable: int = 0


@dataclass(frozen=True, slots=True)
class BlockSet:
    """All blocks so far, in order, with what was left out."""

    blocks: tuple[Block, ...]
    exclusions: Exclusions

    def missing(self, metric: str) -> dict[Arm, int]:
        """How many users within blocks have no value of the metric, by arm."""
        return {
            "canary": sum(block.canary.value(metric) is None for block in self.blocks),
            "stable": sum(user.value(metric) is None for block in self.blocks for user in block.stable),
        }


def form_blocks(
    evidence: Iterable[UserEvidence], plan: BlockPlan, *, now: float, formed: Sequence[Block] = ()
) -> BlockSet:
    """Blocks from the users whose window has closed by `now`, walking through them in order of first eligible call.

    Each canary user, in order, gets the k unused stable users nearest in time of those who have arrived when k are
    there. `formed` are blocks that an earlier look has already used: they stay as they are and new ones follow them,
    so that a record that reached the ledger late, or another k in the next step, never rewrites the past.
    Without late records the blocks of an earlier `now` are a prefix of those of a later one.
    """
    closed, window_open, other_arm, repeated = _first_arms(evidence, plan.window, now)
    used = {user.user for block in formed for user in (block.canary, *block.stable)}
    horizon = plan.window if plan.concurrency is None else plan.concurrency
    needed = plan.k if plan.values_needed is None else plan.values_needed
    blocks = list(formed)
    canaries: deque[UserEvidence] = deque()
    stables: deque[UserEvidence] = deque()
    stale_canary = stale_stable = 0
    for user in closed:
        if user.user in used:
            continue
        stale_canary += _drop_older(canaries, user.first_call_at - horizon)
        stale_stable += _drop_older(stables, user.first_call_at - horizon)
        (canaries if user.arm == "canary" else stables).append(user)
        if canaries and len(stables) >= plan.k:
            # A canary user who just arrived finds the latest k nearest; one who waited did so for exactly k.
            nearest = sorted((stables.pop() for _ in range(plan.k)), key=_arrival)
            blocks.append(Block(len(blocks), canaries.popleft(), tuple(nearest), needed))
    waiting = len(canaries) + len(stables)
    excluded = Exclusions(window_open, other_arm, repeated, waiting, stale_canary, stale_stable)
    return BlockSet(tuple(blocks), excluded)


def stable_users_per_block(canary_share: float, at_most: int = 4) -> int:
    """The largest k ≤ `at_most` that a step can fill: (1 − share) / share stable users arrive per canary user.

    A larger k leaves canary users without partners; decide it per step, before the step starts.
    """
    if not 0.0 < canary_share < 1.0:
        raise ValueError(f"canary_share must lie in (0, 1), got {canary_share!r}")
    return max(1, min(at_most, math.floor((1.0 - canary_share) / canary_share + 1e-9)))


def _arrival(user: UserEvidence) -> tuple[float, str, str]:
    return user.first_call_at, user.user, user.arm


def _first_arms(
    evidence: Iterable[UserEvidence], window: float, now: float
) -> tuple[list[UserEvidence], int, int, int]:
    first: dict[str, UserEvidence] = {}
    other_arm = repeated = 0
    for record in sorted(evidence, key=_arrival):
        earlier = first.setdefault(record.user, record)
        if earlier is not record:
            other_arm += earlier.arm != record.arm
            repeated += earlier.arm == record.arm
    closed = [user for user in first.values() if user.first_call_at + window <= now]
    return closed, len(first) - len(closed), other_arm, repeated


def _drop_older(queue: deque[UserEvidence], limit: float) -> int:
    dropped = 0
    while queue and queue[0].first_call_at < limit:
        queue.popleft()
        dropped += 1
    return dropped
