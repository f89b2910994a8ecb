"""Is a judge still the one that was calibrated? Its scores of a frozen set of answers, then and now. Pure.

The answers are the same, so that whatever moved is the judge. A judge that is merely unsteady moves examples up and
down alike: the exact two-sided sign test on the directions (McNemar, 1947). An alarm also wants a shift of the mean
that matters, and says which way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

ALPHA = 0.01
"""Of one look; looked at daily, a steady judge is called drifting once in a hundred days at most."""
TOLERANCE = 0.02
"""A shift of the mean score below this moves no verdict of a gate."""
MOST_UNREADABLE = 0.1
_SAME = 1e-9


class JudgeState(StrEnum):
    STEADY = "steady"
    DRIFTING = "drifting"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class JudgeDrift:
    """``shift``: mean of now minus then over ``examples`` judged both times; ``p`` of the directions of what moved."""

    state: JudgeState
    reason: str
    examples: int
    up: int
    down: int
    shift: float
    p: float


def decide_judge_drift(then: Sequence[float], now: Sequence[float | None], *, alpha: float = ALPHA) -> JudgeDrift:
    """Scores in [0, 1] of the same examples in the same order; None where the judge gave none now.

    Raises ValueError for lists of different lengths.
    """
    from scipy.stats import binomtest  # takes seconds, which importing this must not

    changes = [new - old for old, new in zip(then, now, strict=True) if new is not None]
    unread = len(then) - len(changes)
    up, down = sum(change > _SAME for change in changes), sum(change < -_SAME for change in changes)
    shift = sum(changes) / len(changes) if changes else 0.0
    p = float(binomtest(up, up + down, 0.5).pvalue) if up + down else 1.0

    def found(state: JudgeState, reason: str) -> JudgeDrift:
        return JudgeDrift(state, reason, len(changes), up, down, shift, p)

    if not changes or unread > MOST_UNREADABLE * len(then):
        return found(JudgeState.UNKNOWN, f"{unread} of {len(then)} anchors got no readable verdict")
    moved = f"{up} of {len(changes)} anchors score higher, {down} lower, {shift:+.3f} on average (p = {p:.2g})"
    if p <= alpha and abs(shift) >= TOLERANCE:
        return found(JudgeState.DRIFTING, f"the judge became {'milder' if shift > 0 else 'stricter'}: {moved}")
    return found(JudgeState.STEADY, moved)
