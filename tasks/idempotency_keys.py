"""Idempotency-Keys past their retention, and the answers that were kept for them."""

from gateway.clock import Clock
from gateway.idempotency.retention import count_expired, purge
from gateway.settings import Settings
from tasks.registration import engine_of
from tasks.step import step


@step("forget old idempotency keys")
def forget_keys(settings: Settings, clock: Clock, *, dry_run: bool) -> int:
    """How many are removed, or would be. Raises StorageUnavailable; what was removed before that stays removed."""
    work = count_expired if dry_run else purge
    return work(engine_of(settings), clock.now())
