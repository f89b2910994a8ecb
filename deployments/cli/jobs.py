"""``promptyard jobs``: long work that the API has accepted: how far it is, what failed, and how to stop it."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.stack_home import connected_settings, stack_home

if TYPE_CHECKING:
    from deployments.cli.gateway_client import GatewayClient

FINISHED = frozenset({"succeeded", "failed", "cancelled"})
PAGE = 200
MOST_ERRORS = 5
"""Kinds of errors that a person is shown; ``GET /v1/jobs/{id}/items`` has all."""

JobId = Annotated[str, typer.Argument(metavar="ID", help="The id that POST /v1/jobs answered with.")]
Json = Annotated[bool, typer.Option("--json", help="Print for machines.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Jobs of the API: list, show, cancel.", no_args_is_help=True)
    group.command("list")(list_all)
    group.command("show")(show)
    group.command("cancel")(cancel)
    app.add_typer(group, name="jobs")


def list_all(
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="The newest so many.")] = 20, as_json: Json = False
) -> None:
    """List jobs, newest first."""
    from rich.console import Console
    from rich.table import Column, Table

    with _gateway() as gateway:
        found = gateway.call("GET", "v1", "jobs", query={"limit": str(limit)})["jobs"]
    if as_json:
        typer.echo(json.dumps({"jobs": found}, indent=2))
        return
    if not found:
        typer.echo("There are no jobs. POST /v1/jobs makes one.")
        return
    whole = Column("id", no_wrap=True, min_width=30)  # the other commands need all of it
    table = Table(whole, "kind", "state", box=None, pad_edge=False, header_style="dim")
    for title in ("items", "failed", "created"):
        table.add_column(title, justify="right")
    for job in found:
        counts = job["counts"]
        created = f"{datetime.fromtimestamp(job['created_at']):%m-%d %H:%M}"
        items = f"{counts['done'] + counts['failed']}/{counts['total']}"
        table.add_row(job["id"], job["kind"], job["state"], items, str(counts["failed"]), created)
    Console().print(table)


def show(
    job_id: JobId,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it has finished; exit status 1 unless it worked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how far a job is, what it has cost, and what failed."""
    with _gateway() as gateway:
        job = watch(gateway, job_id, time.sleep) if wait else gateway.call("GET", "v1", "jobs", job_id)
        errors = _errors(gateway, job_id) if job["counts"]["failed"] and not as_json else {}
    typer.echo(json.dumps(job, indent=2) if as_json else _described(job, errors))
    if wait and job["state"] != "succeeded":
        raise typer.Exit(1)


def cancel(job_id: JobId, as_json: Json = False) -> None:
    """Cancel a job: at once if it waits, after the items in flight if it is worked on."""
    with _gateway() as gateway:
        job = gateway.call("POST", "v1", "jobs", job_id, "cancel")
    typer.echo(json.dumps(job, indent=2) if as_json else f"{job['id']} is {job['state']}.")


def watch(gateway: "GatewayClient", job_id: str, pause: Callable[[float], None]) -> dict[str, Any]:
    """The job as it ended; a bar on a terminal, a line per change elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    notes = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    said = ""
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task("queued", total=None)
        while True:
            job = gateway.call("GET", "v1", "jobs", job_id)
            counts = job["counts"]
            finished = counts["done"] + counts["failed"]
            bar.update(task, completed=finished, total=counts["total"] or None, description=job["state"])
            line = f"{job['state']}: {finished} of {counts['total']} items"
            if not notes.is_terminal and line != said:
                print(line, file=notes.file, flush=True)
            said = line
            if job["state"] in FINISHED:
                return job
            pause(1.0)


def _errors(gateway: "GatewayClient", job_id: str) -> dict[str, int]:
    """How many items failed for which reason, by the first page of items."""
    counts: dict[str, int] = {}
    for item in gateway.call("GET", "v1", "jobs", job_id, "items", query={"limit": "500"})["items"]:
        if item["state"] == "failed":
            reason = f"{item['error']['code']}: {item['error']['message']}"
            counts[reason] = counts.get(reason, 0) + 1
    return counts


def _described(job: dict[str, Any], errors: dict[str, int]) -> str:
    counts = job["counts"]
    what = job["collection"] or job["model"] or f"{job['prompt']} {job['version'] or ''}".strip()
    lines = [
        f"{job['id']}  {job['kind']} of {what}",
        f"{job['state']}: {counts['done']} done, {counts['failed']} failed, {counts['waiting']} waiting "
        f"({job['progress']:.0%})",
        f"${job['cost_usd']:.4f} so far" if job["state"] not in FINISHED else f"${job['cost_usd']:.4f}",
    ]
    lines += [job["error"]] if job["error"] else []
    most = sorted(errors.items(), key=lambda found: -found[1])
    lines += [f"  {number} x {reason}" for reason, number in most[:MOST_ERRORS]]
    return "\n".join(lines)


def _gateway() -> "GatewayClient":
    from deployments.cli.gateway_client import open_gateway

    home = stack_home()
    return open_gateway(home, connected_settings())
