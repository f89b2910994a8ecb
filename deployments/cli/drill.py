"""``promptyard drill``: the classic failures of caches, made to happen without their protection and gone with it."""

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from deployments.drills.outcome import Outcome


class Name(StrEnum):
    """The drills."""

    STAMPEDE = "stampede"
    STALE = "stale"
    MEMORY = "memory"
    COLLISION = "collision"
    POOL = "pool"


def register(app: typer.Typer) -> None:
    app.command()(drill)


def drill(
    names: Annotated[list[Name] | None, typer.Argument(help="Which; all of them without any.")] = None,
    small: Annotated[bool, typer.Option("--small", help="With fewer calls, as in the tests.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Make a cache's classic failure happen, then show that it is gone. Needs nothing running.

    Each drill starts Redis servers of its own in a temporary folder. Exit status 1 if one does not show both sides.
    """
    import asyncio

    from rich.console import Console

    from deployments.cli.quiet import quiet_libraries
    from deployments.drills.running import run_drill

    quiet_libraries()
    console = Console(highlight=False)
    outcomes = []
    for name in names or list(Name):
        outcome = asyncio.run(run_drill(name.value, small=small))
        outcomes.append(outcome)
        if not as_json:
            _show(console, outcome)
    if as_json:
        print(json.dumps([_as_json(outcome) for outcome in outcomes], indent=2))
    if not all(outcome.passed for outcome in outcomes):
        sys.exit(1)


def _show(console: "Console", outcome: "Outcome") -> None:
    from rich.markup import escape
    from rich.table import Table

    console.print(f"\n[bold]{outcome.drill}[/]  {escape(outcome.failure)}", soft_wrap=True)
    console.print(f"[dim]left out: {escape(outcome.left_out)}[/]", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("without", justify="right")
    table.add_column("protected", justify="right")
    for figure, before in outcome.without.items():
        table.add_row(escape(figure), _number(before), _number(outcome.protected[figure]))
    console.print(table)
    colour = "green" if outcome.passed else "red"
    console.print(f"[{colour}]{outcome.verdict}[/] [dim]({outcome.seconds:.1f} s)[/]")


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}" if abs(value) < 1 else f"{value:,.1f}"


def _as_json(outcome: "Outcome") -> dict[str, Any]:
    return {
        "drill": outcome.drill,
        "failure": outcome.failure,
        "left_out": outcome.left_out,
        "without": dict(outcome.without),
        "protected": dict(outcome.protected),
        "passed": outcome.passed,
        "verdict": outcome.verdict,
        "seconds": round(outcome.seconds, 2),
    }
