"""Jobs as runs see them: taken under a lease, renewed, worked off item by item, given back or ended.

Correctness rests on ``lease_owner`` in SQL: whatever a run writes it writes only while the job is its own, and an item
is finished once. A killed run's lease expires, and the next run goes on with the items that are not finished. Every
function raises StorageUnavailable when SQL does not answer.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct
from sqlalchemy import Engine, Update, func, select, update

from gateway.clock import Clock
from gateway.errors import Conflict
from gateway.jobs.rules import OPEN, ItemState, JobState, after_work
from gateway.jobs.store import add_items
from gateway.storage.engine import reading, writing
from gateway.storage.models import JobItemRow, JobRow

_CANDIDATES = 10


class LeaseLost(Conflict):
    """Another run has the job: nothing was written."""

    code = "lease_lost"
    default_hint = "Stop working on the job: its unfinished items are another run's now."


class Outcome(Struct, frozen=True, kw_only=True):
    """How an item ended. *Waiting* is an error that may pass: one attempt more, and a later run tries again."""

    state: ItemState
    call_id: str = ""
    output: Mapping[str, Any] | None = None
    error: str = ""
    message: str = ""
    cost_usd: Decimal | None = None


def claim(
    engine: Engine, clock: Clock, owner: str, lease: float, *, flow_run: str = "", most_runs: int = 2
) -> JobRow | None:
    """Take the job that was served least recently, for ``lease`` seconds; of several runs, one gets it.

    None when no job waits, or when ``most_runs`` other runs are at work, which will come to what waits.
    """
    now = clock.now()
    leased = (JobRow.lease_owner != "", JobRow.lease_until > now)
    others = select(func.count(JobRow.lease_owner.distinct())).where(*leased, JobRow.lease_owner != owner)
    waiting = (
        select(JobRow)
        .where(JobRow.state.in_(OPEN), JobRow.lease_until <= now)
        .order_by(JobRow.lease_until, JobRow.created_at, JobRow.id)
        .limit(_CANDIDATES)
    )
    with reading(engine) as session:
        if (session.scalar(others) or 0) >= most_runs:
            return None
        candidates = list(session.scalars(waiting))
    for seen in candidates:
        with writing(engine) as session:
            taken = session.scalar(
                update(JobRow)
                .where(JobRow.id == seen.id, JobRow.state == seen.state)
                .where(JobRow.lease_owner == seen.lease_owner, JobRow.lease_until == seen.lease_until)
                .values(
                    state=JobState.RUNNING.value if seen.state == JobState.QUEUED else seen.state,
                    lease_owner=owner,
                    lease_until=now + lease,
                    flow_run=flow_run,
                    started_at=func.coalesce(JobRow.started_at, now),
                )
                .returning(JobRow.id)
            )
            if taken is not None:
                return session.get_one(JobRow, seen.id)
    return None


def renew(engine: Engine, job_id: str, owner: str, until: float) -> JobState:
    """Raises LeaseLost."""
    with writing(engine) as session:
        state = session.scalar(_own(job_id, owner).values(lease_until=until).returning(JobRow.state))
    return _still_ours(state)


def set_items(engine: Engine, job_id: str, owner: str, inputs: Sequence[Mapping[str, Any]]) -> None:
    """The items of a job that was accepted without them, all or none. Raises LeaseLost."""
    with writing(engine) as session:
        _still_ours(session.scalar(_own(job_id, owner).values(total=len(inputs)).returning(JobRow.state)))
        add_items(session, job_id, inputs)


def note(engine: Engine, job_id: str, owner: str, request: Mapping[str, Any]) -> None:
    """Keep what was decided for all items, such as the prompt's version. Raises LeaseLost."""
    with writing(engine) as session:
        _still_ours(session.scalar(_own(job_id, owner).values(request=dict(request)).returning(JobRow.state)))


def waiting_items(engine: Engine, job_id: str, limit: int) -> list[JobItemRow]:
    """In order; those that were tried before come after all that were tried less often, and not together with them."""
    mine = (JobItemRow.job_id == job_id, JobItemRow.state == ItemState.WAITING.value)
    least = select(func.min(JobItemRow.attempts)).where(*mine).scalar_subquery()
    with reading(engine) as session:
        found = select(JobItemRow).where(*mine, JobItemRow.attempts == least).order_by(JobItemRow.seq)
        return list(session.scalars(found.limit(limit)))


def finish_item(engine: Engine, item: JobItemRow, owner: str, outcome: Outcome) -> JobState:
    """Keep how an item ended, once, and count it; the job's state tells whether to go on. Raises LeaseLost."""
    waits = outcome.state is ItemState.WAITING
    counted = _own(item.job_id, owner).values(
        done=JobRow.done + int(outcome.state is ItemState.DONE),
        failed=JobRow.failed + int(outcome.state is ItemState.FAILED),
        cost_usd=JobRow.cost_usd + (outcome.cost_usd or Decimal(0)),
    )
    finished = (
        update(JobItemRow)
        .where(JobItemRow.job_id == item.job_id, JobItemRow.seq == item.seq)
        .where(JobItemRow.state == ItemState.WAITING.value, JobItemRow.attempts == item.attempts)
        .values(
            state=outcome.state.value,
            attempts=item.attempts + waits,
            call_id=outcome.call_id,
            output=dict(outcome.output) if outcome.output is not None else None,
            error=outcome.error,
            message=outcome.message,
            cost_usd=outcome.cost_usd,
        )
        .returning(JobItemRow.seq)
    )
    with writing(engine) as session:
        state = _still_ours(session.scalar(counted.returning(JobRow.state)))
        if session.scalar(finished) is None:
            raise LeaseLost(f"item {item.seq} of {item.job_id} was finished by another run")
    return state


def give_back(engine: Engine, clock: Clock, job_id: str, owner: str, *, pause: float = 0.0, error: str = "") -> JobRow:
    """End the job if it is at its end, else leave it to the next run, after ``pause`` seconds at the earliest.

    With an ``error`` the job itself broke, and is failed. Raises LeaseLost.
    """
    now = clock.now()
    with writing(engine) as session:
        row = session.get(JobRow, job_id, with_for_update=True)
        if row is None or row.lease_owner != owner:
            raise _lost()
        age = now - row.created_at
        state, why = after_work(JobState(row.state), total=row.total, done=row.done, failed=row.failed, age=age)
        if error and state in (JobState.RUNNING, JobState.FAILED):
            state, why = JobState.FAILED, error
        row.state, row.error = state.value, why
        row.lease_owner, row.lease_until = "", now + pause if state in OPEN else now
        row.finished_at = None if state in OPEN else now
    return row


def cancel_run(engine: Engine, clock: Clock, flow_run: str) -> int:
    """Cancel the jobs that a run, which exists no more, was working on; returns how many."""
    mine = (JobRow.flow_run == flow_run, JobRow.lease_owner != "", JobRow.state.in_(OPEN))
    ended = {"state": JobState.CANCELLED.value, "lease_owner": "", "finished_at": clock.now()}
    with writing(engine) as session:
        return len(list(session.scalars(update(JobRow).where(*mine).values(**ended).returning(JobRow.id))))


def _own(job_id: str, owner: str) -> Update:
    return update(JobRow).where(JobRow.id == job_id, JobRow.lease_owner == owner)


def _still_ours(state: str | None) -> JobState:
    if state is None:
        raise _lost()
    return JobState(state)


def _lost() -> LeaseLost:
    return LeaseLost("another run has the job")
