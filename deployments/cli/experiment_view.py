"""How experiments look on a terminal."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gateway.prompts.splits import Policy
from gateway.storage.models import ExperimentRow
from tasks.experiments.options import ExperimentOptions
from tasks.experiments.view import arm_rows, headline, next_in_words, segment_rows
from tasks.experiments.weights import Found
from tasks.statistics.power import expected_users

_SEEN = 0.05
_LEFT = ("version", "segment", "beside the baseline", "id", "prompt", "policy", "stage", "arms")


def print_started(row: ExperimentRow, options: ExperimentOptions, told: str, ungated: Sequence[str]) -> None:
    """What runs from now on, how far it got, which arms no gate has passed, and how long it may take."""
    out = Console(highlight=False, soft_wrap=True)
    arms = ", ".join(f"{arm['version']} {arm['weight'] / 100:g} %" for arm in row.arms)
    out.print(f"{row.id}: {row.policy} of {row.prompt}: {arms}.")
    out.print(told)
    if ungated:
        out.print(f"No gate has passed {', '.join(ungated)}: live users are the first to see.", style="yellow")
    out.print(_expectation(row, options), style="dim")
    out.print(f"'promptyard experiment status {row.id}' shows how the arms do.", style="dim")


def _expectation(row: ExperimentRow, options: ExperimentOptions) -> str:
    """How long it may take to tell arms apart that differ by 0.05, where scores spread by 0.2 around 0.8."""
    found = expected_users(
        stable_mean=0.8, delta=_SEEN, sd=0.2, alpha=options.alpha, tests=2 * (len(row.arms) - 1), k=1
    )
    users = f"about {found.median}" if found.median is not None else f"more than {found.horizon}"
    return f"To tell a difference of {_SEEN:g} takes {users} users of each arm, where scores spread by 0.2."


def print_list(rows: Sequence[ExperimentRow], *, as_json: bool) -> None:
    facts = [
        {
            "id": row.id,
            "prompt": row.prompt,
            "policy": row.policy,
            "stage": row.stage,
            "arms": {arm["version"]: arm["weight"] / 10_000 for arm in row.arms},
            "epoch": row.epoch,
            "started_at": row.started_at,
            "ended_at": row.ended_at,
            "reason": row.reason,
        }
        for row in rows
    ]
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    out = Console(highlight=False, soft_wrap=True)
    if not rows:
        out.print("No experiment yet. 'promptyard experiment start PROMPT --policy ab --arm ... --arm ...' begins one.")
        return
    table = _table(["id", "prompt", "policy", "stage", "arms"])
    for row in rows:
        arms = "\n".join(f"{arm['version']} {arm['weight'] / 100:g} %" for arm in row.arms)
        started = f"since {datetime.fromtimestamp(row.started_at):%m-%d %H:%M}"
        table.add_row(f"{row.id}\n[dim]{started}[/]", escape(row.prompt), row.policy, row.stage, arms)
    out.print(table)


def print_experiment(found: Found, worth: Sequence[Mapping[str, Any]]) -> None:
    """Arms, segments, worth, and what was left out."""
    out = Console(highlight=False)
    whole = not out.is_terminal  # for programs; people get lines that break between words
    out.print(Text(headline(found), "bold"), soft_wrap=whole)
    out.print(Text(next_in_words(found), "dim"), soft_wrap=whole)
    _print_rows(arm_rows(found), out)
    if segments := segment_rows(found):
        _print_rows(segments, out)
    for one in worth:
        out.print(f"{one['version']}: {one['recommendation']}", soft_wrap=whole)
    if found.shown.policy is Policy.CONTEXTUAL:
        out.print("What an arm is worth is not told: each has other kinds of users.", style="dim", soft_wrap=whole)
    left_out = ", ".join(f"{reason} {count}" for reason, count in found.look.gathered.excluded.items())
    if left_out:
        out.print(Text(f"Calls that say nothing about an arm: {left_out}.", "dim"), soft_wrap=whole)


def _print_rows(rows: Sequence[Mapping[str, Any]], out: Console) -> None:
    table = _table(list(rows[0]))
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))  # no markup: callers name segments
    out.print(table)


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for column in columns:
        whole = column == "id"  # the other commands need all of it
        justify: Literal["left", "right"] = "left" if column in _LEFT else "right"
        table.add_column(column, justify=justify, no_wrap=whole, min_width=30 if whole else None, overflow="fold")
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
