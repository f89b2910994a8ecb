"""The nightly removal of old turns."""

from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.settings import Settings
from gateway.storage.models import TurnRow
from tasks.conversations import forget_turns
from tests.tasks.rows import add


def test_a_dry_run_counts_and_removes_nothing(settings: Settings, ledger: Engine, clock: ManualClock) -> None:
    for seq, age in ((1, settings.conversation_retention + 1), (2, 1.0)):
        place = {"tenant": "acme", "conversation": "conv_1", "seq": seq, "prompt": "help", "call_id": "call_1"}
        add(ledger, TurnRow(**place, messages=[], created_at=clock.now() - age))
    assert forget_turns.fn(settings, clock, dry_run=True) == 1
    assert forget_turns.fn(settings, clock, dry_run=False) == 1
    assert forget_turns.fn(settings, clock, dry_run=True) == 0
