"""What was asked, what was reached, and whether it held: the table that a simulated part ends with."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Promise:
    """``asked`` and ``reached`` in words; ``held`` is None for what nobody asked for and is shown beside it."""

    what: str
    asked: str
    reached: str
    held: bool | None = None


def print_promises(title: str, promises: Iterable[Promise], console: Console) -> None:
    table = Table(title=title)
    for column in ("what", "asked", "reached", "held"):
        table.add_column(column)
    for one in promises:
        held = "" if one.held is None else "[green]yes[/]" if one.held else "[bold red]no[/]"
        table.add_row(one.what, one.asked, one.reached, held)
    console.print(table)


def promise_figures(promises: Sequence[Promise]) -> dict[str, Any]:
    """For ``--json``; what did not hold is a violation, which ends the bench with status 1."""
    return {
        "promises": [asdict(one) for one in promises],
        "violations": [f"{one.what}: {one.reached}, asked {one.asked}" for one in promises if one.held is False],
    }
