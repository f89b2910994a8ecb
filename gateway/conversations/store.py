"""The turns of conversations in SQL. Each function is one transaction; all raise StorageUnavailable when SQL is away.

A turn is claimed before the model is asked: (tenant, conversation, seq) is unique, so that of two turns at once one is
refused before it costs anything, and the one that was paid for is never the one that is lost. A claim of a call that
died is taken over when its lease has ended; a call that comes back later than that finds its place taken.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, CursorResult, Engine, delete, func, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from gateway.conversations.rules import recent
from gateway.errors import ConversationBusy, UnknownConversation
from gateway.storage.engine import reading, writing
from gateway.storage.models import TurnRow
from gateway.types import Message

LEASE = 120.0
"""Seconds until a turn whose call did not come back may be taken: longer than a call takes, tools aside."""


class Place(Struct, frozen=True):
    """A conversation of a tenant."""

    tenant: str
    conversation: str


class Claim(Struct, frozen=True):
    """The right to write one turn."""

    place: Place
    seq: int
    """From 1."""
    call_id: str


class Turn(Struct, frozen=True):
    """One exchange. ``messages``: the user's side first, the assistant's message last; ``at``: seconds since 1970."""

    turn: int
    prompt: str
    call_id: str
    at: float
    messages: Sequence[Message]


def begin(
    engine: Engine,
    place: Place,
    *,
    new: bool,
    prompt: str,
    call_id: str,
    now: float,
    turns_at_most: int,
    chars_at_most: int,
) -> tuple[Claim, list[Sequence[Message]]]:
    """The next turn, claimed, and the turns before it that the model sees, oldest first.

    Raises UnknownConversation unless it exists or is ``new``, and ConversationBusy while another turn is under way.
    """
    try:
        with writing(engine) as session:
            last = session.scalars(
                select(TurnRow).where(*_at(place)).order_by(TurnRow.seq.desc()).limit(1).with_for_update()
            ).first()
            if last is None and not new:
                raise UnknownConversation("no such conversation is held")
            if last is not None and last.lease_until:
                if last.call_id != call_id and last.lease_until > now:
                    raise busy()
                last.call_id, last.lease_until, last.prompt = call_id, now + LEASE, prompt
                seq = last.seq
            else:
                seq = last.seq + 1 if last else 1
                session.add(
                    TurnRow(
                        tenant=place.tenant, conversation=place.conversation, seq=seq, prompt=prompt, messages=[],
                        call_id=call_id, lease_until=now + LEASE, created_at=now,
                    )
                )  # fmt: skip
            return Claim(place, seq, call_id), _before(session, place, seq, turns_at_most, chars_at_most)
    except IntegrityError:
        raise busy() from None


def _before(
    session: Session, place: Place, seq: int, turns_at_most: int, chars_at_most: int
) -> list[Sequence[Message]]:
    older = select(TurnRow.messages).where(*_at(place), TurnRow.seq < seq, TurnRow.lease_until == 0)
    latest = session.scalars(older.order_by(TurnRow.seq.desc()).limit(turns_at_most)).all()
    return recent(latest[::-1], turns_at_most=turns_at_most, chars_at_most=chars_at_most)


def finish(engine: Engine, claim: Claim, messages: Sequence[Message], now: float) -> bool:
    """Write the turn. False where the claim was lost: taken over after its lease, or the conversation was deleted."""
    written = update(TurnRow).where(*_mine(claim))
    with writing(engine) as session:
        return _changed(session.execute(written.values(messages=list(messages), lease_until=0.0, created_at=now))) == 1


def release(engine: Engine, claim: Claim) -> None:
    """Give up a claim that was not finished: the call failed, and nothing was said."""
    with writing(engine) as session:
        session.execute(delete(TurnRow).where(*_mine(claim)))


def read(engine: Engine, place: Place, *, before: int | None, limit: int) -> list[Turn]:
    """At most ``limit`` turns, the latest before turn ``before``, oldest first. Raises UnknownConversation."""
    wanted = select(TurnRow).where(*_at(place), TurnRow.lease_until == 0)
    if before is not None:
        wanted = wanted.where(TurnRow.seq < before)
    with reading(engine) as session:
        rows = session.scalars(wanted.order_by(TurnRow.seq.desc()).limit(limit)).all()
        if not rows and not session.scalar(select(func.count()).select_from(TurnRow).where(*_at(place))):
            raise UnknownConversation("no such conversation is held")
        return [Turn(row.seq, row.prompt, row.call_id, row.created_at, row.messages) for row in reversed(rows)]


def forget(engine: Engine, place: Place) -> None:
    """Delete a conversation, the turn that is under way included. Raises UnknownConversation."""
    with writing(engine) as session:
        if not _changed(session.execute(delete(TurnRow).where(*_at(place)))):
            raise UnknownConversation("no such conversation is held")


def count_old(engine: Engine, before: float) -> int:
    """How many turns ``purge`` would delete."""
    with reading(engine) as session:
        return session.scalar(select(func.count()).select_from(TurnRow).where(TurnRow.created_at < before)) or 0


def purge(engine: Engine, before: float, *, batch: int = 500) -> int:
    """Delete the turns that were written before that time; returns how many.

    In transactions of ``batch`` turns, so that no caller waits long for a lock.
    """
    turn = tuple_(TurnRow.tenant, TurnRow.conversation, TurnRow.seq)
    removed = 0
    while True:
        with writing(engine) as session:
            oldest = select(TurnRow.tenant, TurnRow.conversation, TurnRow.seq).where(TurnRow.created_at < before)
            rows = session.execute(oldest.order_by(TurnRow.created_at).limit(batch)).tuples().all()
            if rows:
                session.execute(delete(TurnRow).where(turn.in_(rows)))
        removed += len(rows)
        if len(rows) < batch:
            return removed


def busy() -> ConversationBusy:
    return ConversationBusy("another turn of this conversation is under way", retry_after=1)


def _at(place: Place) -> tuple[ColumnElement[bool], ...]:
    return TurnRow.tenant == place.tenant, TurnRow.conversation == place.conversation


def _mine(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return *_at(claim.place), TurnRow.seq == claim.seq, TurnRow.call_id == claim.call_id, TurnRow.lease_until > 0


def _changed(result: Any) -> int:
    assert isinstance(result, CursorResult)  # noqa: S101 (of an update or delete)
    return result.rowcount
