"""Tables and figures of what was served."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from tests.bench.semantic_serving import Rate, Served

_RATES = ("hits", "wrong per hit", "wrong per request")


def served_table(title: str, *columns: str) -> Table:
    """``columns`` stand between the name and the three rates."""
    return rates_table(title, "", *columns, *_RATES)


def rates_table(title: str, *columns: str) -> Table:
    """The first column is text, all others are figures."""
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def add_served(table: Table, name: str, served: Served, *columns: str) -> None:
    table.add_row(name, *columns, str(served.hit_rate), str(served.wrong_per_hit), str(served.wrong_per_request))


def figures_of(served: Served) -> dict[str, Any]:
    """Shares with their 95 % intervals."""
    rates = (served.hit_rate, served.wrong_per_hit, served.wrong_per_request)
    return {name: [rate.share, *rate.interval] for name, rate in zip(_RATES, rates, strict=True)}


def add_rates(table: Table, name: str, rates: Sequence[Rate]) -> None:
    table.add_row(name, *map(str, rates))
