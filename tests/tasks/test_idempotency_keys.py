"""The nightly removal of old Idempotency-Keys."""

from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.settings import Settings
from gateway.storage.models import IdempotencyRow
from tasks.idempotency_keys import forget_keys
from tests.tasks.rows import add


def test_a_dry_run_counts_and_removes_nothing(settings: Settings, ledger: Engine, clock: ManualClock) -> None:
    for key, age in (("old", 1.0), ("new", -1.0)):
        values = {"fingerprint": "f" * 64, "call_id": key, "created_at": 0.0, "expires_at": clock.now() - age}
        add(ledger, IdempotencyRow(tenant="acme", key=key, **values))
    assert forget_keys.fn(settings, clock, dry_run=True) == 1
    assert forget_keys.fn(settings, clock, dry_run=False) == 1
    assert forget_keys.fn(settings, clock, dry_run=True) == 0
