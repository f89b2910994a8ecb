"""What a verdict still owes the world: an alert, a warm-up. Noted in the verdict's own transaction, so that a run that
dies right after it leaves a debt behind, which the next reconcile pays.

A debt is a step whose evidence says ``owed``; it is paid once a later step ``settled`` names it. Whoever pays holds the
release's lease, so two runs do not pay at once. One that dies between paying and noting it pays again: people rather
hear of a rollback twice than never, and a warm cache is only found warm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import Engine, or_, select

from gateway.clock import Clock
from gateway.storage.engine import reading, writing
from gateway.storage.models import PromptRow, ReleaseRow, ReleaseStepRow
from tasks.releases.store import Step, add_step

OWED, SETTLED, SETTLES = "owed", "settled", "settles"
VERDICTS = ("gated", "refused", "promoted", "rolled_back", "closed")
LEASE_SECONDS = 600.0
"""Longer than a warm-up takes, and how long a debt waits after somebody died over it or failed to pay it."""
REPORT_GRACE = 600.0
HORIZON = 86_400.0
"""Older debts are let go: nobody needs that alert or that cache any more."""


class Owed(StrEnum):
    ALERT = "alert"
    WARM = "warm"
    REPORT = "report"
    """The run that took the verdict tells people itself; an alert does when it has not after ``REPORT_GRACE``."""


class FollowUp(Protocol):
    """How debts are paid. Either may raise: the debt then stays."""

    def alert(self, release: ReleaseRow) -> None:
        """Tell people where the release stands."""

    def warm(self, release: ReleaseRow) -> None:
        """Warm the cache for the release's version."""


@dataclass(frozen=True)
class Debt:
    """A step of a release that still owes something."""

    release_id: str
    seq: int
    owed: Owed


@dataclass(frozen=True)
class Payment:
    """What became of a debt. ``problem`` names the error's type when it could not be paid."""

    release: ReleaseRow
    owed: Owed
    how: str = ""
    problem: str = ""


def owing(owed: Owed, evidence: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A step's evidence with a debt in it."""
    return {**(evidence or {}), OWED: owed.value}


def unsettled(engine: Engine, clock: Clock, release_id: str = "") -> list[Debt]:
    """Debts of the last day, oldest first; of one release only if it is named."""
    since = clock.now() - HORIZON
    noted = (
        select(ReleaseStepRow)
        .join(ReleaseRow, ReleaseRow.id == ReleaseStepRow.release_id)
        .where(or_(ReleaseRow.closed_at >= since, ReleaseRow.open_slot.is_not(None)))
        .where(ReleaseStepRow.kind.in_((*VERDICTS, SETTLED)), ReleaseStepRow.at >= since)
        .order_by(ReleaseStepRow.at, ReleaseStepRow.seq)
    )
    if release_id:
        noted = noted.where(ReleaseRow.id == release_id)
    with reading(engine) as session:
        steps = list(session.scalars(noted))
    paid = {(step.release_id, step.evidence.get(SETTLES)) for step in steps if step.kind == SETTLED}
    return [
        Debt(step.release_id, step.seq, Owed(step.evidence[OWED]))
        for step in steps
        if step.evidence.get(OWED) and (step.release_id, step.seq) not in paid
    ]


def settle_owed(engine: Engine, clock: Clock, owner: str, follow_up: FollowUp) -> list[Payment]:
    """Pay what is owed, one debt after the other; one that cannot be paid keeps none of the others waiting."""
    payments: list[Payment] = []
    for debt in unsettled(engine, clock):
        release = _claim(engine, clock, debt, owner)
        if release is None:
            continue
        try:
            how = _pay(engine, debt, release, follow_up)
        except Exception as error:
            payments.append(Payment(release, debt.owed, problem=type(error).__name__))
            continue  # its lease runs out by itself: the next try is a while away
        settle(engine, clock, debt, how)
        payments.append(Payment(release, debt.owed, how))
    return payments


def settle(engine: Engine, clock: Clock, debt: Debt, how: str) -> None:
    """Note that a debt is paid, once, and give the lease back."""
    with writing(engine) as session:
        row = session.get_one(ReleaseRow, debt.release_id, with_for_update=True)
        row.lease_owner, row.lease_until = "", 0.0
        steps = select(ReleaseStepRow).where(ReleaseStepRow.release_id == row.id, ReleaseStepRow.kind == SETTLED)
        if all(step.evidence.get(SETTLES) != debt.seq for step in session.scalars(steps)):
            add_step(session, clock, row, Step(SETTLED, how, {SETTLES: debt.seq}))


def reported(engine: Engine, clock: Clock, release_id: str) -> None:
    """The run that took the verdict has told people."""
    for debt in unsettled(engine, clock, release_id):
        if debt.owed is Owed.REPORT:
            settle(engine, clock, debt, "reported by its run")


def _claim(engine: Engine, clock: Clock, debt: Debt, owner: str) -> ReleaseRow | None:
    """The release under a lease; None while somebody else has it, or before a report is late."""
    now = clock.now()
    with writing(engine) as session:
        row = session.get_one(ReleaseRow, debt.release_id, with_for_update=True)
        step = session.get_one(ReleaseStepRow, (debt.release_id, debt.seq))
        if row.lease_until > now or (debt.owed is Owed.REPORT and now - step.at < REPORT_GRACE):
            return None
        row.lease_owner, row.lease_until = owner, now + LEASE_SECONDS
        return row


def _pay(engine: Engine, debt: Debt, release: ReleaseRow, follow_up: FollowUp) -> str:
    with reading(engine) as session:
        serves = session.get_one(PromptRow, (release.tenant, release.prompt)).production
        later = select(ReleaseStepRow.seq).where(
            ReleaseStepRow.release_id == release.id, ReleaseStepRow.seq > debt.seq, ReleaseStepRow.kind != SETTLED
        )
        overtaken = session.scalars(later).first() is not None
    if debt.owed is Owed.WARM:
        if serves != release.version:
            return f"not warmed: {serves or 'nothing'} serves by now"
        follow_up.warm(release)
        return "warmed"
    if overtaken:
        return "not told: the release went on meanwhile"
    follow_up.alert(release)
    return "alerted"
