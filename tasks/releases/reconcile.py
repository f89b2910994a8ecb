"""One idempotent step of an open release. May be killed anywhere and run again: what it did is done, what not is next.

The order matters: a look and its blocks are kept before a decision uses them, and the decision is one transaction with
its step; the table is pushed after that, and by the next reconcile if this one dies first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, func, select

from gateway.clock import Clock
from gateway.ledger.queries import MOST_ROUTED, release_calls
from gateway.storage.engine import reading
from gateway.storage.models import CallRow, ReleaseRow
from gateway.types import Origin, RoutingTable
from tasks.releases import store
from tasks.releases.blocks_store import kept_blocks
from tasks.releases.business import business, declared_values
from tasks.releases.judged import calibration_of, judged
from tasks.releases.look import Shown, look_at
from tasks.releases.looks import keep_look
from tasks.releases.mirror_stage import advance_mirror, start_mirror
from tasks.releases.owed import Owed, owing
from tasks.releases.plan import Move, weight_of
from tasks.releases.stages import Stage
from tasks.releases.store import StaleRelease, Step
from tasks.specs.model import CanarySpec

LEASE_SECONDS = 60.0
SCORE_SOURCES = ("judge", "assertion")
TESTING = (Origin.GATE.value, Origin.JUDGE.value, Origin.MIRROR.value)
# A run that died between opening a release and its verdict must not keep the prompt closed for ever.
GATING_PATIENCE = 3600.0
_FULL = f"it has all the {MOST_ROUTED:,} calls that are looked at, and is decided by these or not at all"
OWED_BY: Mapping[Stage, Owed] = {
    Stage.PROMOTED: Owed.WARM,
    Stage.ROLLED_BACK: Owed.ALERT,
    Stage.INCONCLUSIVE: Owed.ALERT,
}


@dataclass(frozen=True)
class StepReport:
    """What one reconcile of a release saw and did. ``table`` is to be pushed when there is one."""

    release: ReleaseRow
    move: Move | None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    table: RoutingTable | None = None
    note: str = ""


def canary_policy(release: ReleaseRow) -> CanarySpec:
    """The policy that the release was opened with."""
    policy = CanarySpec.model_validate(release.policy["canary"])
    if "concurrency" not in release.policy["canary"]:  # opened before it could be declared: it was one window
        return policy.model_copy(update={"concurrency": policy.window + policy.scoring_grace})
    return policy


def start_canary(
    engine: Engine,
    clock: Clock,
    release: ReleaseRow,
    *,
    approved_by: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> tuple[ReleaseRow, RoutingTable]:
    """The mirror stage where the plan has one, else the first step; a first version has no baseline and goes straight
    to everybody.

    ``evidence`` is what the gate saw, unless an earlier step has it.
    """
    seen = dict(evidence or {})
    if not release.baseline:
        step = Step("promoted", "the first version has no baseline: it passed the absolute floors", seen)
        return store.transition(engine, clock, release, Stage.PROMOTED, step, approved_by=approved_by)
    policy = canary_policy(release)
    if policy.mirror is not None:
        return start_mirror(engine, clock, release, policy.mirror, approved_by=approved_by, evidence=seen)
    weight = weight_of(policy, 0)
    step = Step("started", f"canary starts with {weight / 100:g} % of the users", seen)
    return store.transition(
        engine, clock, release, Stage.CANARY, step, weight=weight, plan_step=0, approved_by=approved_by
    )


def advance(engine: Engine, clock: Clock, release_id: str, owner: str) -> StepReport | None:
    """One step of one release; None while somebody else holds it or once it is closed."""
    release = store.acquire_lease(engine, clock, release_id, owner, LEASE_SECONDS)
    if release is None:
        return None
    try:
        if release.stage == Stage.GATING:
            return _expire(engine, clock, release)
        if release.stage == Stage.MIRROR:
            row, move, evidence, table = advance_mirror(engine, clock, release)
            return StepReport(row, move, evidence, table)
        if release.stage != Stage.CANARY:
            return StepReport(release, None, note=f"waits: {release.stage}")
        return _advance_canary(engine, clock, release)
    except StaleRelease as error:
        return StepReport(release, None, note=error.message)
    finally:
        store.release_lease(engine, release_id, owner)


def _advance_canary(engine: Engine, clock: Clock, release: ReleaseRow) -> StepReport:
    policy = canary_policy(release)
    values = declared_values(release.policy)
    formed, formed_at = kept_blocks(engine, release.id)
    shown = Shown(
        calls=release_calls(engine, release.id, sources=SCORE_SOURCES),
        formed=formed,
        formed_at=formed_at,
        weight=release.weight,
        step=release.step,
        step_since=release.step_since,
        started_at=next(step.at for step in store.steps_of(engine, release.id) if step.kind == "started"),
        now=clock.now(),
        testing_usd=_testing_cost(engine, release) if values else None,
    )
    look = look_at(shown, policy)
    move, evidence = look.move, look.evidence()
    if move.kind == "held" and not look.fresh:
        return StepReport(release, move, evidence, note=_FULL if len(shown.calls) >= MOST_ROUTED else "")
    if values:
        evidence["business"] = business(shown, values, release_id=release.id, stage=move.stage)
    if known := calibration_of(release.policy):
        evidence["judged"] = judged(shown, known, release_id=release.id)
    evidence["look"] = keep_look(engine, release, shown, look.fresh)
    owed = OWED_BY.get(move.stage)
    step = Step(move.kind, move.reason, owing(owed, evidence) if owed else evidence)
    weight = move.weight if move.stage is Stage.CANARY else None
    plan_step = move.step if move.kind == "advanced" else None
    row, table = store.transition(engine, clock, release, move.stage, step, weight=weight, plan_step=plan_step)
    return StepReport(row, move, evidence, table if move.kind != "held" else None)


def _testing_cost(engine: Engine, release: ReleaseRow) -> float:
    """Dollars of the model calls made to judge this prompt since the release was opened, where the price is known."""
    query = select(func.sum(CallRow.cost_usd)).where(
        CallRow.tenant == release.tenant,
        CallRow.prompt == release.prompt,
        CallRow.origin.in_(TESTING),
        CallRow.started_at >= release.opened_at,
    )
    with reading(engine) as session:
        return float(session.scalar(query) or 0)


def _expire(engine: Engine, clock: Clock, release: ReleaseRow) -> StepReport:
    if clock.now() - release.opened_at < GATING_PATIENCE:
        return StepReport(release, None, note="waits: gating")
    step = Step(
        "closed", "the run that gated this release ended without a verdict; release it again", owing(Owed.ALERT)
    )
    row, table = store.transition(engine, clock, release, Stage.ERROR, step)
    return StepReport(row, Move(Stage.ERROR, "closed", 0, 0, step.reason), {}, table)
