"""Saying something once: the outbox row with a deterministic id is both the memory and the event for Prefect."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects import postgresql, sqlite

from gateway.clock import Clock
from gateway.storage.engine import reading, writing
from gateway.storage.models import OutboxRow


def announcement_id(event: str, occasion: Sequence[str]) -> str:
    """40 characters; the same for the same event on the same occasion, such as a prompt and a day."""
    parts = [part.encode() for part in (event, *occasion)]
    encoded = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return f"once_{hashlib.sha256(encoded).hexdigest()[:35]}"


def announce_once(
    engine: Engine, clock: Clock, event: str, resource: str, payload: Mapping[str, Any], occasion: Sequence[str]
) -> bool:
    """Leave an event for Prefect, which the ledger-writer posts; False when this occasion has had its event.

    Of several processes at once, one gets True. Raises StorageUnavailable.
    """
    row = {
        "id": announcement_id(event, occasion),
        "event": event,
        "resource": resource,
        "payload": dict(payload),
        "created_at": clock.now(),
        "attempts": 0,
        "next_attempt_at": 0.0,
    }
    with writing(engine) as session:
        insert = sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert
        new = insert(OutboxRow).values(row).on_conflict_do_nothing().returning(OutboxRow.id)
        return session.execute(new).scalar_one_or_none() is not None


def announced(engine: Engine, event: str, occasion: Sequence[str]) -> bool:
    """Whether this occasion has had its event. Raises StorageUnavailable."""
    with reading(engine) as session:
        return session.get(OutboxRow, announcement_id(event, occasion)) is not None
