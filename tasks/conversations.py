"""Turns of held conversations past their retention."""

from gateway.clock import Clock
from gateway.conversations.store import count_old, purge
from gateway.settings import Settings
from tasks.registration import engine_of
from tasks.step import step


@step("forget old turns of conversations")
def forget_turns(settings: Settings, clock: Clock, *, dry_run: bool) -> int:
    """How many are removed, or would be. Raises StorageUnavailable; what was removed before that stays removed."""
    work = count_old if dry_run else purge
    return work(engine_of(settings), clock.now() - settings.conversation_retention)
