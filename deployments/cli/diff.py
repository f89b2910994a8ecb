"""``promptyard diff``: what two versions of a prompt say, how they scored, and which answers changed."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.ledger_access import open_ledger

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.storage.models import PromptVersionRow
    from tasks.registry import LoggedRun
    from tasks.version_diff import Compared


def register(app: typer.Typer) -> None:
    app.command()(diff)


def diff(
    old: Annotated[str, typer.Argument(help="The earlier version, such as 1.0.0.")],
    new: Annotated[str, typer.Argument(help="The later version, such as 1.1.0.")],
    prompt: Annotated[str, typer.Option("--prompt", help="Of which prompt; not needed while there is only one.")] = "",
    answers: Annotated[int, typer.Option("--answers", min=0, help="Changed answers to show, the worst first.")] = 10,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose; PROMPTYARD_TENANT by default.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Text, scores and changed answers of two versions side by side. The text needs the ledger alone."""
    from dataclasses import asdict

    from deployments.cli.stages import StageView
    from tasks.releases.store import get_prompt, get_version
    from tasks.version_diff import compare_runs, text_diff

    with StageView() as view:
        view.begin("compare")
        settings, engine = open_ledger()
        owner = tenant or settings.tenant
        name = prompt or _only_prompt(engine, owner)
        get_prompt(engine, owner, name)
        before, now = (get_version(engine, owner, name, version) for version in (old, new))
        text = text_diff(before.spec, now.spec, (f"{name} {old}", f"{name} {new}"))
        (earlier, missing), (later, missing_later) = (_run(settings.mlflow_tracking_uri, row) for row in (before, now))
        found = compare_runs(old, earlier, later)
    unread = missing_later or ("" if found.changed or found.figures else missing)
    if as_json:
        typer.echo(json.dumps({"prompt": name, "text": text, **asdict(found), "unread": unread}, indent=2))
        return
    _print(text, found, (old, new), answers, unread)


def _only_prompt(engine: "Engine", tenant: str) -> str:
    """Raises InvalidRequest where there is none, or more than one."""
    from gateway.errors import InvalidRequest
    from tasks.releases.store import list_prompts

    names = [row.name for row in list_prompts(engine, tenant)]
    if len(names) != 1:
        found = f"there are {len(names)} prompts: {', '.join(names[:10])}" if names else f"{tenant} has no prompts"
        raise InvalidRequest(found, hint="Say which one: --prompt NAME." if names else "'promptyard release' adds one.")
    return names[0]


def _run(tracking_uri: str, row: "PromptVersionRow") -> "tuple[LoggedRun | None, str]":
    """The version's last gate and, where it cannot be read, why."""
    from tasks.registry import RegistryUnavailable, read_run

    if not row.gate_run:
        return None, f"{row.version} was not gated"
    try:
        return read_run(tracking_uri, row.gate_run), ""
    except RegistryUnavailable as error:
        return None, f"the gate of {row.version} cannot be read: {error.message}"


def _print(text: list[str], found: "Compared", names: tuple[str, str], most: int, unread: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = Console()
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in text or ["The texts and settings are the same."]:
        out.print(Text(line, styles.get(line[:1], "")))
    if found.figures:
        scores = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
        for place, title in enumerate(("", *names, "change")):
            scores.add_column(title, justify="right" if place else "left")
        for one in found.figures:
            change = None if one.before is None or one.now is None else one.now - one.before
            cells = [_figure(one.before), _figure(one.now), "–" if change is None else f"{change:+.3f}"]
            scores.add_row(one.metric.replace("_", " "), *cells)
        out.print()
        out.print(scores)
    if found.changed:
        out.print(f"\n{len(found.changed)} answers changed, {found.same} are the same.", highlight=False)
        table = Table(show_lines=True, header_style="dim")
        for title in ("item", names[0], names[1]):
            table.add_column(title, overflow="fold", ratio=1 if title == "item" else 3)
        for row in found.changed[:most]:
            scored = f"{_figure(row.score_before)} → {_figure(row.score)}"
            table.add_row(Text(f"{row.item}\n{scored}\n{row.question}"), Text(row.before), Text(row.now))
        if most:
            out.print(table)
        if len(found.changed) > most:
            out.print(f"and {len(found.changed) - most} more: --answers {len(found.changed)}", style="dim")
    for note in (found.note, unread):
        if note:
            out.print(f"({note})", style="dim", highlight=False, markup=False)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
