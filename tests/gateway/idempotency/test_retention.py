"""Old keys go, in batches; others stay."""

from sqlalchemy import Engine

from gateway.idempotency.retention import count_expired, purge
from gateway.storage.engine import writing
from gateway.storage.models import IdempotencyRow
from tests.gateway.idempotency.workers import BODY, count, row

NOW = 1_000.0


def add(engine: Engine, key: str, *, expires_at: float, lease_until: float = 0.0) -> None:
    with writing(engine) as session:
        session.add(
            IdempotencyRow(
                tenant="acme",
                key=key,
                fingerprint=BODY,
                call_id=key,
                created_at=0.0,
                lease_until=lease_until,
                expires_at=expires_at,
            )
        )


def test_only_what_is_expired_and_at_rest_goes(engine: Engine) -> None:
    add(engine, "expired", expires_at=NOW)
    add(engine, "fresh", expires_at=NOW + 1)
    add(engine, "at work", expires_at=NOW, lease_until=NOW + 1)
    assert count_expired(engine, NOW) == 1
    assert purge(engine, NOW) == 1
    assert row(engine, "expired") is None
    assert count(engine) == 2
    assert purge(engine, NOW) == 0


def test_batches_remove_all_and_no_more_than_asked_for(engine: Engine) -> None:
    for number in range(7):
        add(engine, f"key-{number}", expires_at=float(number))
    assert purge(engine, NOW, batch=2, most=3) == 3
    assert row(engine, "key-2") is None
    assert row(engine, "key-3") is not None  # the oldest go first
    assert purge(engine, NOW, batch=2) == 4
    assert count(engine) == 0
