"""Synthetic users of a canary: who sees which arm, how good the answers are."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from gateway.storage.models import CallRow, ReleaseRow
from tests.tasks.releases.yard import Yard, live_call

Quality = Callable[[str, random.Random], float | None]


def around(stable: float, canary: float) -> Quality:
    """Scores with a standard deviation of 0.1 around a mean by arm."""

    def quality(arm: str, dice: random.Random) -> float:
        return min(1.0, max(0.0, dice.gauss(canary if arm == "canary" else stable, 0.1)))

    return quality


def arrive(
    yard: Yard, release: ReleaseRow, users: int, quality: Quality, dice: random.Random, **canary_changes: Any
) -> None:
    """``users`` ask once each within the last 20 seconds, split by the weight of now."""
    rows: list[tuple[CallRow, float | None]] = []
    start = yard.clock.now()
    for number in range(users):
        arm = "canary" if dice.random() < release.weight / 10_000 else "stable"
        changes = canary_changes if arm == "canary" else {}
        score = None if changes.get("status") == "failed" else quality(arm, dice)
        identity = f"{start:.0f}-{number}"
        rows.append((live_call(release, identity, arm, start + 20 * number / users, **changes), score))
    yard.add_calls(rows)


def play(
    yard: Yard,
    release: ReleaseRow,
    quality: Quality,
    *,
    rounds: int,
    users: int = 60,
    seed: int = 7,
    canary: Mapping[str, Any] | None = None,
) -> ReleaseRow:
    """Users arrive, their windows close, one reconcile; again until the release is closed or the rounds are over.

    ``canary`` changes the calls of that arm.
    """
    dice = random.Random(seed)
    for _ in range(rounds):
        arrive(yard, yard.release(release), users, quality, dice, **(canary or {}))
        yard.clock.advance(120)
        yard.advance(release)
        if yard.release(release).open_slot is None:
            break
    return yard.release(release)
