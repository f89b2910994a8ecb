"""The mirror stage of a release in the ledger: how it begins, and one idempotent look at it. As ``reconcile`` has it:
a look is kept before anything is decided on it, and the decision is one transaction with its step.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.ledger.mirrored import MirroredPair, mirrored_pairs
from gateway.storage.models import ReleaseRow
from gateway.types import RoutingTable
from tasks.releases import store
from tasks.releases.looks import MIRROR, PAIR_FIELDS, SeenCall, keep_mirror_look, kept_looks, seen_by
from tasks.releases.mirror_look import MirrorPlan, MirrorShown, comparison, in_order, look_at_pairs
from tasks.releases.owed import Owed, owing
from tasks.releases.plan import Move
from tasks.releases.stages import Stage
from tasks.releases.store import Step
from tasks.specs.model import MirrorSpec

MIRRORING = "mirroring"


def begins_with_mirror(release: ReleaseRow) -> bool:
    """Whether mirrored calls come before the first users; a first version has nothing to be compared with."""
    return bool(release.baseline) and MirrorPlan.of(release).canary.mirror is not None


def start_mirror(
    engine: Engine,
    clock: Clock,
    release: ReleaseRow,
    mirror: MirrorSpec,
    *,
    approved_by: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> tuple[ReleaseRow, RoutingTable]:
    """A step at weight 0: the route names the candidate as a mirror, and no arm of it."""
    words = f"{mirror.share:g} % of the live calls are sent to the candidate too; {mirror.calls} are to be compared"
    step = Step(MIRRORING, f"{words} before any user sees it", dict(evidence or {}))
    return store.transition(engine, clock, release, Stage.MIRROR, step, approved_by=approved_by)


def pairs_in_order(engine: Engine, release_id: str) -> tuple[list[MirroredPair], dict[str, SeenCall]]:
    """The release's pairs as the next look is shown them, and what earlier looks have seen of them."""
    seen = seen_by(row for row in kept_looks(engine, release_id) if row.kind == MIRROR)
    return in_order(mirrored_pairs(engine, release_id), seen), seen


def advance_mirror(
    engine: Engine, clock: Clock, release: ReleaseRow
) -> tuple[ReleaseRow, Move, dict[str, Any], RoutingTable | None]:
    """Where the release stands after one look, the move, its evidence, and the table to push if there is one.

    Raises StaleRelease when somebody else has moved the release meanwhile.
    """
    pairs, seen = pairs_in_order(engine, release.id)
    shown = MirrorShown(
        pairs=pairs,
        started_at=next(step.at for step in store.steps_of(engine, release.id) if step.kind == MIRRORING),
        now=clock.now(),
    )
    look = look_at_pairs(shown, MirrorPlan.of(release))
    move, found = look.move, look.evidence()
    news = any(seen.get(pair.id) != SeenCall.of(pair, PAIR_FIELDS) for pair in pairs)
    if move.kind == "held" and not news:
        return release, move, found, None
    found["look"] = keep_mirror_look(engine, release, shown)
    alerts = move.stage in (Stage.REFUSED, Stage.INCONCLUSIVE)
    step = Step(move.kind, move.reason, owing(Owed.ALERT, found) if alerts else found)
    goes_on = move.stage is Stage.CANARY
    row, table = store.transition(
        engine,
        clock,
        release,
        move.stage,
        step,
        weight=move.weight if goes_on else None,
        plan_step=0 if goes_on else None,
    )
    return row, move, found, table if move.kind != "held" else None


def open_pairs(engine: Engine, release: ReleaseRow, metric: str) -> list[MirroredPair]:
    """The first pairs that count, as many as are to be judged, which lack ``metric`` and have two answers."""
    plan = MirrorPlan.of(release)
    if plan.canary.mirror is None:
        return []
    counted = comparison(pairs_in_order(engine, release.id)[0], plan).pairs[: plan.canary.mirror.judged]
    return [pair for pair in counted if pair.answer and pair.live_answer and metric not in pair.scores]
