"""A budget that the gateway enforces is told by it; the hourly look does not tell people the same again."""

from datetime import date
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.limits.notices import EVENT, NEAR, REACHED, Notice
from gateway.settings import Settings
from gateway.storage.announcing import announce_once
from tasks.costs import Budget, Level, announce
from tests.tasks.rows import NOW

DAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    ("told", "spent", "level", "new"),
    [
        (None, "0.9", Level.NEAR, True),
        (NEAR, "0.9", Level.NEAR, False),
        (NEAR, "1.0", Level.SPENT, True),
        (REACHED, "1.0", Level.SPENT, False),
    ],
)
def test_what_the_gateway_told_is_known(
    told: str | None, spent: str, level: Level, new: bool, settings: Settings, ledger: Engine
) -> None:
    clock = ManualClock(NOW)
    if told:
        notice = Notice("prompt_budget", "acme", "help", told, spent, "1.0", "USD a day", DAY.isoformat())
        assert announce_once(ledger, clock, EVENT, notice.resource, notice.payload, notice.occasion)
    budget = Budget("acme", "help", DAY, Decimal(spent), Decimal(1), 0.8)
    assert budget.level is level
    assert announce.fn(settings, clock, budget) is new
    other = Budget("acme", "other", DAY, Decimal(spent), Decimal(1), 0.8)
    assert announce.fn(settings, clock, other), "another prompt's budget is another matter"
