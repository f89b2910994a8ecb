"""A release as it stands this moment, for whoever watches: how its arms do, and its last look. Reads SQL alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, case, func, select
from sqlalchemy.orm import Session

from gateway.storage.engine import reading
from gateway.storage.models import CallRow, ReleaseRow, ReleaseStepRow, ScoreRow
from gateway.types import CANARY, STABLE, Layer, Origin
from tasks.releases.evidence import QUALITY
from tasks.releases.reconcile import SCORE_SOURCES

RECENT = 20
"""Steps to look through for the last look: after a verdict a few notes may follow."""


@dataclass(frozen=True)
class ArmNow:
    """The fresh answers of one arm so far: users, calls, failed calls, and the mean of those scored already."""

    users: int = 0
    calls: int = 0
    failed: int = 0
    scored: int = 0
    quality: float | None = None


@dataclass(frozen=True)
class ReleaseNow:
    """Where a release stands. ``guardrails`` are those of its last look, as its step holds them."""

    id: str
    version: str
    baseline: str
    stage: str
    share_percent: float
    reason: str
    open: bool
    arms: Mapping[str, ArmNow]
    looked_at: float | None = None
    guardrails: Sequence[Mapping[str, Any]] = ()


def release_now(engine: Engine, tenant: str, prompt: str, release_id: str = "") -> ReleaseNow | None:
    """The named release, else the prompt's open one; None where there is none."""
    with reading(engine) as session:
        row = session.get(ReleaseRow, release_id) if release_id else _open_one(session, tenant, prompt)
        if row is None:
            return None
        steps = (
            select(ReleaseStepRow)
            .where(ReleaseStepRow.release_id == row.id)
            .order_by(ReleaseStepRow.seq.desc())
            .limit(RECENT)
        )
        last = next((step for step in session.scalars(steps) if "decision" in step.evidence), None)
        return ReleaseNow(
            id=row.id,
            version=row.version,
            baseline=row.baseline,
            stage=row.stage,
            share_percent=row.weight / 100,
            reason=row.reason,
            open=row.open_slot is not None,
            arms={arm: _arm(session, row.id, arm) for arm in (CANARY, STABLE)},
            looked_at=last.at if last else None,
            guardrails=last.evidence["decision"]["guardrails"] if last else (),
        )


def _open_one(session: Session, tenant: str, prompt: str) -> ReleaseRow | None:
    return session.scalar(select(ReleaseRow).where(ReleaseRow.open_slot == f"{tenant}/{prompt}"))


def _arm(session: Session, release_id: str, arm: str) -> ArmNow:
    score = (ScoreRow.call_id == CallRow.id) & (ScoreRow.metric == QUALITY) & ScoreRow.source.in_(SCORE_SOURCES)
    query = (
        select(
            func.count(CallRow.user.distinct()),
            func.count(CallRow.id.distinct()),
            func.count(case((CallRow.status != "ok", CallRow.id)).distinct()),
            func.count(ScoreRow.value),
            func.avg(ScoreRow.value),
        )
        .select_from(CallRow)
        .outerjoin(ScoreRow, score)
        .where(
            CallRow.release_id == release_id,
            CallRow.arm == arm,
            CallRow.origin == Origin.LIVE.value,
            CallRow.evidence,
            CallRow.layer == Layer.NONE.value,
        )
    )
    users, calls, failed, scored, quality = session.execute(query).one()
    return ArmNow(users, calls, failed, scored, None if quality is None else float(quality))
