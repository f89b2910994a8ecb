"""Everything breaks in turn under steady load: the long version of ``tests/integration/test_chaos.py``.

The gateway's own defaults hold. SQL is a PostgreSQL server where there is one, else a SQLite file.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.stand import WORKERS, stand
from tests.chaos.trial import Phase, Verdict, summary, trial
from tests.databases import POSTGRESQL, SQLITE, new_database
from tests.postgres import why_unavailable

CALLERS = 16
PAUSE = 0.1


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: how long each fault lasts."""
    kind = SQLITE if why_unavailable() else POSTGRESQL
    with tempfile.TemporaryDirectory(prefix="promptyard-bench-") as folder, console.status("") as status:
        status.update("chaos: starting")
        database = new_database(Path(folder) / "sql", kind=kind)
        with stand(Path(folder), database_url=database) as ready:
            verdict = asyncio.run(
                trial(
                    ready.here,
                    ready.gateway,
                    ready.tenants,
                    ready.faults,
                    seconds=seconds,
                    callers=CALLERS,
                    pause=PAUSE,
                    tell=status.update,
                )
            )
    _print(verdict, kind, console)
    return {
        "database": kind,
        "phases": [_figures(phase) for phase in verdict.phases],
        "calls": verdict.calls,
        "answered": verdict.answered,
        "recorded": verdict.recorded,
        "violations": verdict.violations,
    }


def _figures(phase: Phase) -> dict[str, Any]:
    return {
        "fault": phase.fault.name,
        "seconds": phase.ended - phase.begun,
        "recovery": phase.recovery,
        "first_choice": phase.first_choice,
        "seen": dict(phase.seen),
    }


def _print(verdict: Verdict, kind: str, console: Console) -> None:
    table = Table(title=f"chaos: {verdict.calls:,} calls by {CALLERS} callers, {WORKERS} workers, {kind}")
    columns = ("lasted s", "recovered after s", "first provider again after s", "answered", "else")
    for column in ("fault", *columns):
        table.add_column(column, justify="left" if column in ("fault", "else") else "right")
    for phase in verdict.phases:
        others = ", ".join(f"{count} {kind}" for kind, count in phase.seen.items() if kind != "answered")
        table.add_row(
            phase.fault.name,
            f"{phase.ended - phase.begun:.1f}",
            _seconds(phase.recovery),
            _seconds(phase.first_choice),
            str(phase.seen["answered"]),
            others,
        )
    console.print(table)
    console.print(
        f"{verdict.answered:,} answers, {verdict.recorded:,} rows in the ledger, "
        f"{len(verdict.violations)} violations (wrong or stale answers, errors without excuse, rows missing or twice)"
    )
    if verdict.violations:
        console.print(summary(verdict.violations), style="red", markup=False)


def _seconds(value: float | None) -> str:
    return "too late" if value is None else f"{value:.1f}"
