"""One look at a canary: what it is shown, and everything that follows from that. Pure, so that anybody can look again.

A reconcile looks at the ledger; a certificate's replay looks at what the reconcile was shown. Both come here.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gateway.ledger.queries import ReleaseCall
from tasks.releases.evidence import Gathered, gather
from tasks.releases.plan import Move, block_plan, next_move, statistics_policy
from tasks.specs.model import CanarySpec
from tasks.statistics.blocks import Block, BlockSet, form_blocks
from tasks.statistics.canary import CanaryDecision, decide


@dataclass(frozen=True)
class Shown:
    """What a look is shown. ``weight`` in basis points, times in seconds since the epoch.

    ``formed`` are the blocks of earlier looks in order, ``formed_at`` when each was formed.
    """

    calls: Sequence[ReleaseCall]
    formed: Sequence[Block]
    formed_at: Sequence[float]
    weight: int
    step: int
    step_since: float
    started_at: float
    now: float
    testing_usd: float | None = None
    """What the model calls of gate and judge have cost so far; asked for where values are declared."""


@dataclass(frozen=True)
class Look:
    """What a look saw and what follows from it."""

    gathered: Gathered
    blocks: BlockSet
    fresh: tuple[Block, ...]
    """The blocks of this look, after those of earlier ones."""
    decision: CanaryDecision
    move: Move

    def evidence(self) -> dict[str, Any]:
        """For people, and to compare with: plain JSON."""
        return {
            "decision": self.decision.to_json(),
            "users": dict(self.gathered.by_arm),
            "excluded_calls": dict(self.gathered.excluded),
            "excluded_users": asdict(self.blocks.exclusions),
        }


def look_at(shown: Shown, policy: CanarySpec) -> Look:
    """The decision of this moment and the move that follows."""
    gathered = gather(shown.calls, policy)
    blocks = form_blocks(gathered.users, block_plan(policy, shown.weight), now=shown.now, formed=shown.formed)
    fresh = blocks.blocks[len(shown.formed) :]
    decision = decide(
        blocks,
        statistics_policy(policy),
        started_at=shown.started_at,
        now=shown.now,
        arrivals=gathered.arrivals,
    )
    move = next_move(
        decision,
        policy,
        step=shown.step,
        in_step_for=shown.now - shown.step_since,
        blocks_in_step=len(fresh) + sum(at >= shown.step_since for at in shown.formed_at),
    )
    return Look(gathered, blocks, fresh, decision, move)
