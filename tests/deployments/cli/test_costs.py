import json
import time
from datetime import date
from decimal import Decimal
from io import StringIO

import pytest
from rich.console import Console
from sqlalchemy import Engine

from deployments.cli.costs_view import CostsShown, money, print_costs, thousands
from gateway.storage.engine import writing
from gateway.storage.models import CallRow
from tasks.costs import Budget, CostLine
from tests.deployments.cli.conftest import PROMPT, TENANT, Promptyard


def add_call(engine: Engine, name: str, hours_ago: float, cost: str | None, tenant: str = TENANT) -> None:
    row = CallRow(
        id=name,
        tenant=tenant,
        origin="live",
        prompt=PROMPT,
        version="1.0.0",
        provider="openai",
        started_at=time.time() - 3600 * hours_ago,
        latency_ms=1.0,
        status="ok",
        layer="none",
        input_tokens=900,
        output_tokens=100,
        cost_usd=None if cost is None else Decimal(cost),
        saved_usd=Decimal(0),
    )
    with writing(engine) as session:
        session.add(row)


def test_only_the_window_and_the_tenant_are_added_up(promptyard: Promptyard, ledger: Engine) -> None:
    add_call(ledger, "new", 1, "0.25")
    add_call(ledger, "old", 30, "8")
    add_call(ledger, "other", 1, "16", tenant="acme")
    day = json.loads(promptyard("costs", "--json").stdout)
    assert (day["total"]["calls"], day["total"]["cost_usd"], day["lines"][0]["version"]) == (1, 0.25, "1.0.0")
    assert json.loads(promptyard("costs", "--days", "2", "--json").stdout)["total"]["cost_usd"] == 8.25
    assert json.loads(promptyard("costs", "--tenant", "acme", "--json").stdout)["total"]["cost_usd"] == 16


def test_an_unknown_price_is_said(promptyard: Promptyard, ledger: Engine) -> None:
    add_call(ledger, "unknown", 1, None)
    text = promptyard("costs").stdout
    assert "1 calls have an unknown price" in text
    assert "$0.0000?" in text


def test_without_calls(promptyard: Promptyard, ledger: Engine) -> None:
    assert "No calls of default within 1 days" in promptyard("costs").stdout
    assert json.loads(promptyard("costs", "--json").stdout)["total"] is None


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal_with_large_figures(width: int) -> None:
    usd = Decimal("1234.5")
    line = CostLine(PROMPT, "10.11.12", "anthropic", 123456, 99999, 1234, 7, 10**9, 10**8, usd, usd, usd, usd)
    budget = Budget(TENANT, PROMPT, date(2026, 11, 21), Decimal("4.5"), Decimal(5), 0.8)
    out = Console(file=StringIO(), width=width)
    print_costs(CostsShown(TENANT, 1.0, [line, line], line, [], [budget]), out)
    assert isinstance(out.file, StringIO)
    text = out.file.getvalue()
    assert all(len(row) <= width for row in text.splitlines())
    assert text.count("1100.0M") == 3
    assert "$4.50 of $5.00 today (90.0 %), near" in " ".join(text.split())


@pytest.mark.parametrize(("amount", "words"), [("0.00012", "$0.0001"), ("0.9", "$0.9000"), ("12.345", "$12.35")])
def test_money(amount: str, words: str) -> None:
    assert money(Decimal(amount)) in (words, words.replace("5", "4", 1))


@pytest.mark.parametrize(("number", "words"), [(950, "950"), (12_400, "12k"), (3_400_000, "3.4M")])
def test_thousands(number: int, words: str) -> None:
    assert thousands(number) == words
