"""One idempotent step of an open release. May be killed anywhere and run again: what it did is done, what not is next.

The order matters: blocks are kept before a decision uses them, and the decision is one transaction with its step; the
table is pushed after that, and by the next reconcile if this one dies first.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.ledger.queries import release_calls
from gateway.storage.models import ReleaseRow
from gateway.types import RoutingTable
from tasks.releases import store
from tasks.releases.blocks_store import keep_blocks, kept_blocks
from tasks.releases.evidence import Gathered, gather
from tasks.releases.owed import Owed, owing
from tasks.releases.plan import Move, next_move, statistics_policy, weight_of
from tasks.releases.stages import Stage
from tasks.releases.store import StaleRelease, Step
from tasks.specs.model import CanarySpec
from tasks.statistics.blocks import BlockPlan, form_blocks, stable_users_per_block
from tasks.statistics.canary import CanaryDecision, decide

LEASE_SECONDS = 60.0
SCORE_SOURCES = ("judge", "assertion")
# A run that died between opening a release and its verdict must not keep the prompt closed for ever.
GATING_PATIENCE = 3600.0
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
    return CanarySpec.model_validate(release.policy["canary"])


def start_canary(
    engine: Engine,
    clock: Clock,
    release: ReleaseRow,
    *,
    approved_by: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> tuple[ReleaseRow, RoutingTable]:
    """The first step of the plan; a first version has no baseline and goes straight to everybody.

    ``evidence`` is what the gate saw, unless an earlier step has it.
    """
    seen = dict(evidence or {})
    if not release.baseline:
        step = Step("promoted", "the first version has no baseline: it passed the absolute floors", seen)
        return store.transition(engine, clock, release, Stage.PROMOTED, step, approved_by=approved_by)
    weight = weight_of(canary_policy(release), 0)
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
        if release.stage != Stage.CANARY:
            return StepReport(release, None, note=f"waits: {release.stage}")
        return _advance_canary(engine, clock, release)
    except StaleRelease as error:
        return StepReport(release, None, note=error.message)
    finally:
        store.release_lease(engine, release_id, owner)


def _advance_canary(engine: Engine, clock: Clock, release: ReleaseRow) -> StepReport:
    policy = canary_policy(release)
    now = clock.now()
    gathered = gather(release_calls(engine, release.id, sources=SCORE_SOURCES), policy)
    formed, formed_at = kept_blocks(engine, release.id)
    k = stable_users_per_block(release.weight / 10_000, policy.block_stable_users)
    plan = BlockPlan(window=policy.window + policy.scoring_grace, k=k)
    blocks = form_blocks(gathered.users, plan, now=now, formed=formed)
    fresh = blocks.blocks[len(formed) :]
    keep_blocks(engine, clock, release.id, fresh)
    started_at = next(step.at for step in store.steps_of(engine, release.id) if step.kind == "started")
    decision = decide(blocks, statistics_policy(policy), started_at=started_at, now=now, arrivals=gathered.arrivals)
    in_step = len(fresh) + sum(at >= release.step_since for at in formed_at)
    move = next_move(decision, policy, step=release.step, in_step_for=now - release.step_since, blocks_in_step=in_step)
    evidence = _evidence(decision, gathered, asdict(blocks.exclusions))
    if move.kind == "held" and not fresh:
        return StepReport(release, move, evidence)
    owed = OWED_BY.get(move.stage)
    step = Step(move.kind, move.reason, owing(owed, evidence) if owed else evidence)
    weight = move.weight if move.stage is Stage.CANARY else None
    plan_step = move.step if move.kind == "advanced" else None
    row, table = store.transition(engine, clock, release, move.stage, step, weight=weight, plan_step=plan_step)
    return StepReport(row, move, evidence, table if move.kind != "held" else None)


def _expire(engine: Engine, clock: Clock, release: ReleaseRow) -> StepReport:
    if clock.now() - release.opened_at < GATING_PATIENCE:
        return StepReport(release, None, note="waits: gating")
    step = Step(
        "closed", "the run that gated this release ended without a verdict; release it again", owing(Owed.ALERT)
    )
    row, table = store.transition(engine, clock, release, Stage.ERROR, step)
    return StepReport(row, Move(Stage.ERROR, "closed", 0, 0, step.reason), {}, table)


def _evidence(decision: CanaryDecision, gathered: Gathered, left_out: Mapping[str, int]) -> dict[str, Any]:
    return {
        "decision": decision.to_json(),
        "users": dict(gathered.by_arm),
        "excluded_calls": dict(gathered.excluded),
        "excluded_users": dict(left_out),
    }
