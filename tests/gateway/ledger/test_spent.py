"""The spend of a day as budgets see it."""

from datetime import UTC, datetime
from decimal import Decimal

from msgspec.structs import asdict
from sqlalchemy import Engine

from gateway.ledger.records import call_record
from gateway.ledger.reports import budget_spend
from gateway.ledger.spent import spent_on
from gateway.storage.engine import writing
from gateway.storage.models import CallRow
from gateway.types import Cost, Origin
from tests.gateway.ledger.ledger_values import answer, call

DAY = datetime(2026, 11, 21, tzinfo=UTC)
START = DAY.timestamp()


def add(engine: Engine, identity: str, usd: str | None, **changes: object) -> None:
    cost = Cost(None if usd is None else Decimal(usd))
    one = answer(call(identity, **({"received_at": START + 3600, "key_id": "key_1"} | changes)), cost=cost)
    with writing(engine) as session:
        session.add(CallRow(**asdict(call_record(one, content=False))))


def test_a_days_spend_by_prompt_and_by_key(engine: Engine) -> None:
    add(engine, "first second", "0.1", received_at=START)
    add(engine, "last second", "0.02", received_at=START + 86_399.9)
    add(engine, "yesterday", "1", received_at=START - 0.1)
    add(engine, "tomorrow", "1", received_at=START + 86_400)
    add(engine, "other prompt", "0.003", prompt="other")
    add(engine, "other key", "0.0004", key_id="key_2")
    add(engine, "other tenant", "1", tenant="umbrella")
    add(engine, "no price", None)
    day = DAY.date()
    assert spent_on(engine, "acme", day, prompt="help") == Decimal("0.1204")
    assert spent_on(engine, "acme", day, key_id="key_1") == Decimal("0.123")
    assert spent_on(engine, "acme", day) == Decimal("0.1234")
    assert spent_on(engine, "acme", day, prompt="nobody") == 0


def test_mirrored_calls_are_money_of_a_budget_of_their_own(engine: Engine) -> None:
    add(engine, "live", "0.1")
    add(engine, "mirrored", "0.02", origin=Origin.MIRROR, key_id="")
    day = DAY.date()
    assert spent_on(engine, "acme", day, prompt="help") == Decimal("0.1")
    assert spent_on(engine, "acme", day, prompt="help", mirrored=True) == Decimal("0.02")
    assert budget_spend(engine, "acme", "help", day) == Decimal("0.1")
    assert spent_on(engine, "acme", day) == Decimal("0.12"), "all of it is spent"
