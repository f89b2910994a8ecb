"""How costs look: a line per prompt, version and provider, the sum, who spent it, today's budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.costs import Budget, CostLine, Level

_LEVELS = {Level.FINE: "green", Level.NEAR: "yellow", Level.SPENT: "bold red"}
UNKNOWN = "?"


@dataclass(frozen=True)
class CostsShown:
    """What the ledger says about a window of so many days; ``total`` is None without a call."""

    tenant: str
    days: float
    table: Sequence[CostLine]
    total: CostLine | None
    origins: Sequence[Mapping[str, Any]]
    budgets: Sequence[Budget]


def as_plain(shown: CostsShown) -> dict[str, Any]:
    """For machines; money as numbers in US dollars, null where the price is unknown."""
    return {
        "tenant": shown.tenant,
        "days": shown.days,
        "lines": [_plain(asdict(line)) for line in shown.table],
        "total": _plain(asdict(shown.total)) if shown.total else None,
        "origins": [_plain(row) for row in shown.origins],
        "budgets": [_plain(asdict(one)) | {"level": one.level.value, "share": one.share} for one in shown.budgets],
    }


def print_costs(shown: CostsShown, out: Console) -> None:
    """Tables that fit 80 columns."""
    if shown.total is None:
        out.print(f"No calls of {shown.tenant} within {shown.days:g} days.")
    else:
        out.print(_spend([*shown.table, shown.total]))
        if unpriced := shown.total.unpriced:
            out.print(Text(f"{unpriced} calls have an unknown price ({UNKNOWN}): the sums are lower bounds.", "yellow"))
        spent = ", ".join(f"{row['origin']} {money(row['cost (USD)'])} ({row['calls']} calls)" for row in shown.origins)
        out.print(Text(f"Spent by: {spent}."))
    for one in shown.budgets:
        if one.daily_usd is not None:
            words = f"{money(one.spent_usd)} of {money(one.daily_usd)} today ({100 * (one.share or 0):.1f} %)"
            out.print(Text.assemble(f"Budget of {one.prompt}: {words}, ", (one.level.value, _LEVELS[one.level]), "."))


def _spend(lines: Sequence[CostLine]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("prompt", overflow="fold")
    for title in ("version", "provider"):
        table.add_column(title, no_wrap=True)
    for title in ("calls", "cached", "failed", "tokens", "cost", "saved", "per 1k"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in lines:
        total = line is lines[-1]
        cells = (
            "sum" if total else line.prompt,
            line.version,
            line.provider,
            str(line.calls),
            str(line.cached),
            str(line.failed),
            thousands(line.input_tokens + line.output_tokens),
            money(line.cost_usd) + (UNKNOWN if line.unpriced else ""),
            money(line.saved_usd),
            "-" if line.per_1k_served is None else money(line.per_1k_served),
        )
        table.add_row(*(Text(cell) for cell in cells), style="bold" if total else "")
    return table


def money(amount: Decimal) -> str:
    """US dollars; four places below one dollar."""
    return f"${amount:.4f}" if amount < 1 else f"${amount:.2f}"


def thousands(number: int) -> str:
    """Four digits at most: 950, 12k, 3.4M."""
    if number < 10_000:
        return str(number)
    return f"{number / 1000:.0f}k" if number < 1_000_000 else f"{number / 1_000_000:.1f}M"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _value(value) for key, value in values.items()}


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, date) else value
