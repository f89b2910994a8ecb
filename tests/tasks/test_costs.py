"""Money by prompt, version and provider, and how budgets run out."""

from datetime import date
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.settings import Settings
from tasks.costs import ALL, EMBEDDINGS, RAW, Budget, Level, announce, as_row, budgets, by_origin, lines, spending
from tests.tasks.rows import NOW, add, call_row, prompt_rows


@pytest.mark.parametrize(
    ("spent", "daily", "level"),
    [
        ("0", None, Level.FINE),
        ("9999", None, Level.FINE),
        ("3.99", "5", Level.FINE),
        ("4.00", "5", Level.NEAR),
        ("4.999", "5", Level.NEAR),
        ("5.00", "5", Level.SPENT),
        ("50", "5", Level.SPENT),
    ],
)
def test_level(spent: str, daily: str | None, level: Level) -> None:
    budget = Budget("acme", "help", date(2023, 11, 14), Decimal(spent), Decimal(daily) if daily else None, 0.8)
    assert budget.level is level


def test_table_adds_up_and_prices_only_what_has_a_price(settings: Settings, ledger: Engine) -> None:
    add(
        ledger,
        call_row("1"),
        call_row("2", layer="exact", cost_usd=Decimal(0), saved_usd=Decimal("0.01")),
        call_row("3", model="homemade", cost_usd=None, saved_usd=Decimal(0), input_tokens=100_000),
        call_row("4", prompt="", version="", origin="judge", cost_usd=Decimal("0.5")),
        call_row("5", provider="anthropic", status="failed", cost_usd=None, input_tokens=0, output_tokens=0),
        call_row("6", started_at=NOW - 100_000, cost_usd=Decimal(99)),
        call_row("7", tenant="somebody-else", cost_usd=Decimal(77)),
    )
    groups = spending.fn(settings, NOW - 10, NOW + 10, "acme")
    found = {(line.prompt, line.provider): line for line in lines(groups)}
    assert list(found) == [(RAW, "openai"), ("help", "openai"), ("help", "anthropic")]  # dearest first

    help_line = found["help", "openai"]
    assert (help_line.calls, help_line.cached, help_line.unpriced) == (3, 1, 1)
    assert (help_line.cost_usd, help_line.saved_usd) == (Decimal("0.01"), Decimal("0.01"))
    assert help_line.per_1k_paid == Decimal("0.1")  # one cent for 100 tokens
    assert help_line.per_1k_served == Decimal("0.05")  # and for the 100 from the cache
    assert found["help", "anthropic"].failed == 1
    assert found["help", "anthropic"].unpriced == 0

    (total,) = lines(groups, by=())
    assert total.prompt == ALL
    assert total.cost_usd == Decimal("0.51")
    assert total.calls == 5
    assert as_row(total)["unknown price"] == 1
    assert [row["origin"] for row in by_origin(groups)] == ["judge", "live"]


def test_embeddings_have_a_line_of_their_own(settings: Settings, ledger: Engine) -> None:
    embedding = call_row("2", prompt="", version="", kind="embedding", cost_usd=Decimal("0.002"), output_tokens=0)
    add(ledger, call_row("1", prompt="", version=""), embedding)
    groups = spending.fn(settings, NOW - 10, NOW + 10, "acme")
    found = {line.prompt: line.cost_usd for line in lines(groups)}
    assert found == {RAW: Decimal("0.01"), EMBEDDINGS: Decimal("0.002")}
    assert [line.cost_usd for line in lines(groups, by=())] == [Decimal("0.012")]


def test_only_unknown_prices_are_unknown_and_not_zero(settings: Settings, ledger: Engine) -> None:
    add(ledger, call_row("1", cost_usd=None))
    (line,) = lines(spending.fn(settings, NOW - 10, NOW + 10, ""))
    assert (line.unpriced, line.per_1k_paid, line.per_1k_served) == (1, None, None)


def test_no_call_is_no_line(settings: Settings, ledger: Engine) -> None:
    assert lines(spending.fn(settings, NOW - 10, NOW + 10, ""), by=()) == []


def test_budget_goes_by_utc_day_and_is_said_once_a_level(settings: Settings, ledger: Engine) -> None:
    clock = ManualClock(NOW)
    day_start = NOW - NOW % 86_400
    add(ledger, *prompt_rows(spec={"budget": {"daily_usd": 0.05, "alert_at": 0.8}}), *prompt_rows("free"))
    add(
        ledger,
        call_row("yesterday", started_at=day_start - 1, cost_usd=Decimal(9)),
        call_row("first", started_at=day_start, cost_usd=Decimal("0.02")),
        call_row("judged", origin="judge", cost_usd=Decimal("0.02")),
        call_row("unknown", cost_usd=None),
    )

    def look() -> tuple[Level, bool]:
        free, limited = budgets.fn(settings, clock, "")
        assert (free.prompt, free.level, free.share) == ("free", Level.FINE, None)
        assert limited.unpriced == 1
        return limited.level, announce.fn(settings, clock, limited)

    assert look() == (Level.NEAR, True)
    assert look() == (Level.NEAR, False)
    add(ledger, call_row("more", cost_usd=Decimal("0.01")))
    assert look() == (Level.SPENT, True)
    assert look() == (Level.SPENT, False)
    clock.advance(86_400)
    add(
        ledger,
        call_row("next day", started_at=clock.now(), cost_usd=Decimal("0.05")),
        call_row("n", started_at=clock.now(), cost_usd=None),
    )
    assert look() == (Level.SPENT, True)
