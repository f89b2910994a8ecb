"""The rows of Idempotency-Keys. Each function is one transaction; all raise StorageUnavailable when SQL is away.

(tenant, key) is the primary key, and whoever changes a row holds it (``FOR UPDATE``, on SQLite ``BEGIN IMMEDIATE``), so
that of any number of workers one claims.
"""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct
from sqlalchemy import ColumnElement, Engine, delete, select, update

from gateway.errors import IdempotencyConflict
from gateway.idempotency.policy import IdempotencyPolicy
from gateway.storage.engine import reading, writing
from gateway.storage.models import IdempotencyRow
from gateway.storage.upsert import insert_missing

NOT_KEPT = b""
"""The outcome of a call whose answer cannot be given again: its key is used up all the same."""


class Place(Struct, frozen=True):
    """A key of a tenant."""

    tenant: str
    key: str


class Claim(Struct, frozen=True, kw_only=True):
    """The right to work on a key, until it is finished or released. Work under ``call_id``, whatever was asked for."""

    place: Place
    call_id: str
    owner: str
    """Of this claim alone: a worker that takes over from itself is another owner."""
    inherited: bool = False
    """Taken over from a call that died; ``call_id`` is that call's."""


class Replay(Struct, frozen=True):
    """What the call with this key answered."""

    call_id: str
    outcome: bytes


class Standing(StrEnum):
    """How a key that SQL knows stands towards a call that brings it."""

    FORGOTTEN = "forgotten"
    OTHER_BODY = "other body"
    FINISHED = "finished"
    ABANDONED = "abandoned"
    UNDER_WAY = "under way"


class Known(Struct, frozen=True):
    """What decides about it. Times are seconds since the epoch."""

    fingerprint: str
    finished: bool
    lease_until: float
    expires_at: float


def standing(known: Known, fingerprint: str, now: float) -> Standing:
    """Pure. A key is not forgotten while a call works on it, and refuses another body even after that call has died."""
    held = not known.finished and known.lease_until > now
    if known.expires_at <= now and not held:
        return Standing.FORGOTTEN
    if known.fingerprint != fingerprint:
        return Standing.OTHER_BODY
    if known.finished:
        return Standing.FINISHED
    return Standing.UNDER_WAY if held else Standing.ABANDONED


def claim(
    engine: Engine,
    place: Place,
    *,
    fingerprint: str,
    call_id: str,
    owner: str,
    now: float,
    policy: IdempotencyPolicy,
) -> Claim | Replay | None:
    """None: another call works on it. Raises IdempotencyConflict for a key that came with another body."""
    new = {
        "fingerprint": fingerprint,
        "call_id": call_id,
        "owner": owner,
        "lease_until": now + policy.lease,
        "outcome": None,
        "created_at": now,
        "expires_at": now + policy.retention,
    }
    with writing(engine) as session:
        insert_missing(session, IdempotencyRow, [{"tenant": place.tenant, "key": place.key, **new}])
        row = session.get(IdempotencyRow, (place.tenant, place.key), with_for_update=True)
        if row is None:  # released between the two statements: as good as under way, the next look will tell
            return None
        if row.owner == owner:
            return Claim(place=place, call_id=call_id, owner=owner)
        known = Known(row.fingerprint, row.outcome is not None, row.lease_until, row.expires_at)
        match standing(known, fingerprint, now):
            case Standing.FORGOTTEN:
                for name, value in new.items():
                    setattr(row, name, value)
                return Claim(place=place, call_id=call_id, owner=owner)
            case Standing.ABANDONED:
                row.owner, row.lease_until = owner, now + policy.lease
                return Claim(place=place, call_id=row.call_id, owner=owner, inherited=True)
            case Standing.FINISHED:
                return Replay(row.call_id, row.outcome or NOT_KEPT)
            case Standing.OTHER_BODY:
                raise other_body()
            case Standing.UNDER_WAY:
                return None


def other_body() -> IdempotencyConflict:
    return IdempotencyConflict("this Idempotency-Key belongs to a request with another body")


def not_kept() -> IdempotencyConflict:
    return IdempotencyConflict(
        "this Idempotency-Key was answered, and its answer cannot be given again: it was too large, or is unreadable",
        hint="Send a new key to make the call once more.",
    )


def is_under_way(engine: Engine, place: Place, fingerprint: str, now: float) -> bool:
    """Whether there is nothing to do but wait. Reads no answer and takes no lock."""
    query = select(
        IdempotencyRow.fingerprint,
        IdempotencyRow.outcome.is_not(None),
        IdempotencyRow.lease_until,
        IdempotencyRow.expires_at,
    ).where(*_at(place))
    with reading(engine) as session:
        row = session.execute(query).tuples().one_or_none()
    return row is not None and standing(Known(*row), fingerprint, now) is Standing.UNDER_WAY


def finish(engine: Engine, held: Claim, outcome: bytes) -> bytes | None:
    """Store the outcome, and return the one that counts: who finishes first wins.

    Only ``call_id`` is compared, not the owner: when a call outlived its lease and was taken over, the first of the
    two answers is everybody's. None: the key belongs to another call by now, and nobody will be answered with this.
    """
    with writing(engine) as session:
        mine = select(IdempotencyRow).where(*_at(held.place), IdempotencyRow.call_id == held.call_id)
        row = session.scalars(mine.with_for_update()).one_or_none()
        if row is None:
            return None
        if row.outcome is None:
            row.outcome, row.owner, row.lease_until = outcome, "", 0.0
        return row.outcome


def release(engine: Engine, held: Claim, *, recorded: bool) -> None:
    """Forget the claim, so that the next call begins anew; one that was lost meanwhile is left alone.

    A claim that was inherited and led to no record (not ``recorded``) goes back to be inherited again: the dead call
    may have been charged under its id.
    """
    with writing(engine) as session:
        if held.inherited and not recorded:
            session.execute(update(IdempotencyRow).where(*_held(held)).values(owner="", lease_until=0.0))
        else:
            session.execute(delete(IdempotencyRow).where(*_held(held)))


def renew(engine: Engine, claims: Iterable[Claim], lease_until: float) -> None:
    """Prolong the leases of those claims that were not lost."""
    with writing(engine) as session:
        for held in claims:
            session.execute(update(IdempotencyRow).where(*_held(held)).values(lease_until=lease_until))


def _at(place: Place) -> tuple[ColumnElement[bool], ...]:
    return IdempotencyRow.tenant == place.tenant, IdempotencyRow.key == place.key


def _held(held: Claim) -> tuple[ColumnElement[bool], ...]:
    return *_at(held.place), IdempotencyRow.owner == held.owner, IdempotencyRow.outcome.is_(None)
