"""Keys past their retention: until they are removed, they are taken for new ones anyway."""

from sqlalchemy import ColumnElement, Engine, delete, func, select, tuple_

from gateway.storage.engine import reading, writing
from gateway.storage.models import IdempotencyRow

BATCH = 500
MOST = 1_000_000


def count_expired(engine: Engine, now: float) -> int:
    """How many ``purge`` would remove. Raises StorageUnavailable."""
    with reading(engine) as session:
        return session.scalar(select(func.count()).select_from(IdempotencyRow).where(*_expired(now))) or 0


def purge(engine: Engine, now: float, *, batch: int = BATCH, most: int = MOST) -> int:
    """Remove expired keys and what they answered; returns how many, ``most`` at most.

    In transactions of ``batch`` rows, so that no caller waits long for a lock. Raises StorageUnavailable: what was
    removed before that stays removed.
    """
    key = tuple_(IdempotencyRow.tenant, IdempotencyRow.key)
    removed = 0
    while removed < most:
        size = min(batch, most - removed)
        with writing(engine) as session:
            oldest = select(IdempotencyRow.tenant, IdempotencyRow.key).where(*_expired(now))
            rows = session.execute(oldest.order_by(IdempotencyRow.expires_at).limit(size)).tuples().all()
            if rows:
                session.execute(delete(IdempotencyRow).where(key.in_(rows), *_expired(now)))
        removed += len(rows)
        if len(rows) < size:
            break
    return removed


def _expired(now: float) -> tuple[ColumnElement[bool], ...]:
    return IdempotencyRow.expires_at <= now, IdempotencyRow.lease_until <= now
