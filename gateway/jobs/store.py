"""Jobs as callers see them: accepted with their items and their event in one transaction, read, cancelled.

Every function raises StorageUnavailable when SQL does not answer. Another tenant's job is an unknown one.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from msgspec import Struct
from sqlalchemy import Engine, delete, func, insert, select, update
from sqlalchemy.orm import Session

from gateway.clock import Clock, new_id
from gateway.errors import Conflict, TooManyJobs, UnknownJob
from gateway.jobs.rules import OPEN, ItemState, JobKind, JobState, after_cancel, is_job_id
from gateway.storage.engine import reading, writing
from gateway.storage.models import JobItemRow, JobRow, OutboxRow

EVENT = "promptyard.job.created"
_CANCEL_TRIES = 20
_BATCH = 500


class NewJob(Struct, frozen=True, kw_only=True):
    """A job that was found to be in order. ``request`` is what all items share; both are plain JSON."""

    id: str
    tenant: str
    key_id: str
    kind: JobKind
    request: Mapping[str, Any]
    items: Sequence[Mapping[str, Any]]
    """Empty for a folder: whoever runs the job lists it."""


def accept(engine: Engine, clock: Clock, job: NewJob, *, most_open: int) -> JobRow:
    """Queue the job. Once: a second time with the same id gives the job that is there.

    Raises TooManyJobs when the tenant has ``most_open`` unfinished jobs.
    """
    now = clock.now()
    with writing(engine) as session:
        _line_up(session, job.tenant)
        known = session.get(JobRow, job.id)
        if known is not None:
            return known
        unfinished = (JobRow.tenant == job.tenant, JobRow.state.in_(OPEN))
        if session.scalar(select(func.count()).select_from(JobRow).where(*unfinished)) >= most_open:  # type: ignore[operator]
            raise TooManyJobs(f"{most_open} jobs are unfinished", retry_after=30)
        row = JobRow(
            id=job.id,
            tenant=job.tenant,
            key_id=job.key_id,
            kind=job.kind.value,
            state=JobState.QUEUED.value,
            request=dict(job.request),
            total=len(job.items),
            created_at=now,
        )
        session.add(row)
        session.flush()
        add_items(session, job.id, job.items)
        session.add(
            OutboxRow(
                id=new_id("evt", clock),
                event=EVENT,
                resource=f"promptyard.job.{job.id}",
                payload={"job_id": job.id, "tenant": job.tenant, "kind": job.kind.value, "items": len(job.items)},
                created_at=now,
                attempts=0,
                next_attempt_at=0.0,
            )
        )
    return row


def add_items(session: Session, job_id: str, inputs: Sequence[Mapping[str, Any]]) -> None:
    """Items in order, numbered from 0."""
    for start in range(0, len(inputs), _BATCH):
        batch = enumerate(inputs[start : start + _BATCH], start)
        fresh = {"state": ItemState.WAITING.value, "attempts": 0, "call_id": "", "error": "", "message": ""}
        session.execute(
            insert(JobItemRow), [{"job_id": job_id, "seq": seq, "input": dict(one), **fresh} for seq, one in batch]
        )


def get(engine: Engine, tenant: str, job_id: str) -> JobRow:
    """Raises UnknownJob."""
    with reading(engine) as session:
        return _job(session, tenant, job_id)


def page(engine: Engine, tenant: str, *, after: str = "", limit: int = 50) -> list[JobRow]:
    """Newest first, from the first one behind ``after``."""
    wanted = select(JobRow).where(JobRow.tenant == tenant).order_by(JobRow.id.desc()).limit(limit)
    with reading(engine) as session:
        return list(session.scalars(wanted.where(JobRow.id < after) if after else wanted))


def items(engine: Engine, tenant: str, job_id: str, *, after: int = -1, limit: int = 100) -> list[JobItemRow]:
    """In order, the unfinished ones too, from the first one behind number ``after``. Raises UnknownJob."""
    wanted = select(JobItemRow).where(JobItemRow.job_id == job_id, JobItemRow.seq > after)
    with reading(engine) as session:
        _job(session, tenant, job_id)
        return list(session.scalars(wanted.order_by(JobItemRow.seq).limit(limit)))


def cancel(engine: Engine, clock: Clock, tenant: str, job_id: str) -> JobRow:
    """What waits is cancelled at once, what is worked on at its next item; a second time changes nothing.

    Raises UnknownJob.
    """
    for _ in range(_CANCEL_TRIES):
        now = clock.now()
        with writing(engine) as session:
            row = _job(session, tenant, job_id)
            seen = (row.state, row.lease_owner, row.lease_until)
            state = after_cancel(JobState(row.state), worked_on=bool(row.lease_owner) and row.lease_until > now)
            if state == row.state:
                return row
            ended = {} if state in OPEN else {"finished_at": now, "lease_owner": ""}
            change = (
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.state == seen[0])
                .where(JobRow.lease_owner == seen[1], JobRow.lease_until == seen[2])
                .values(state=state.value, **ended)
                .returning(JobRow.id)
                .execution_options(synchronize_session=False)
            )
            if session.scalar(change) is not None:
                session.refresh(row)
                return row
    raise Conflict(f"the job {job_id} changes too fast to be cancelled", hint="Try again.")


def forget(engine: Engine, before: float) -> int:
    """Remove jobs that had finished before then, results included; a bounded number of them, which is returned."""
    old = select(JobRow.id).where(JobRow.state.not_in(OPEN), JobRow.finished_at < before).limit(_BATCH)
    with writing(engine) as session:
        ids = list(session.scalars(old))
        session.execute(delete(JobItemRow).where(JobItemRow.job_id.in_(ids)))
        session.execute(delete(JobRow).where(JobRow.id.in_(ids)))
    return len(ids)


def _job(session: Session, tenant: str, job_id: str) -> JobRow:
    row = session.get(JobRow, job_id) if is_job_id(job_id) else None
    if row is None or row.tenant != tenant:
        raise UnknownJob("there is no such job")
    return row


def _line_up(session: Session, tenant: str) -> None:
    """One tenant's jobs are accepted one after the other, so that their bound holds; SQLite does so by itself."""
    if session.get_bind().dialect.name == "postgresql":
        name = int.from_bytes(sha256(f"promptyard jobs of {tenant}".encode()).digest()[:8], "big", signed=True)
        session.execute(select(func.pg_advisory_xact_lock(name)))
