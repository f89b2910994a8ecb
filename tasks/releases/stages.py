"""Where a release can be, and where it can go from there. Pure."""

from collections.abc import Mapping
from enum import StrEnum


class Stage(StrEnum):
    GATING = "gating"
    AWAITING_APPROVAL = "awaiting_approval"
    MIRROR = "mirror"
    """Live calls are also sent to the candidate; no user sees it yet."""
    CANARY = "canary"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"
    REFUSED = "refused"
    ERROR = "error"

    @property
    def open(self) -> bool:
        """Whether the release still waits for something."""
        return bool(NEXT[self])


NEXT: Mapping[Stage, frozenset[Stage]] = {
    Stage.GATING: frozenset(
        {
            Stage.AWAITING_APPROVAL,
            Stage.MIRROR,
            Stage.CANARY,
            Stage.PROMOTED,
            Stage.REFUSED,
            Stage.INCONCLUSIVE,
            Stage.ERROR,
            Stage.ROLLED_BACK,
        }
    ),
    Stage.AWAITING_APPROVAL: frozenset({Stage.MIRROR, Stage.CANARY, Stage.PROMOTED, Stage.REFUSED, Stage.ROLLED_BACK}),
    Stage.MIRROR: frozenset({Stage.MIRROR, Stage.CANARY, Stage.REFUSED, Stage.INCONCLUSIVE, Stage.ROLLED_BACK}),
    Stage.CANARY: frozenset({Stage.CANARY, Stage.PROMOTED, Stage.ROLLED_BACK, Stage.INCONCLUSIVE}),
    Stage.PROMOTED: frozenset(),
    Stage.ROLLED_BACK: frozenset(),
    Stage.INCONCLUSIVE: frozenset(),
    Stage.REFUSED: frozenset(),
    Stage.ERROR: frozenset(),
}


def may_go(here: Stage, there: Stage) -> bool:
    """Whether a release may go from one stage to another; a canary may stay one (its weight grows)."""
    return there in NEXT[here]
