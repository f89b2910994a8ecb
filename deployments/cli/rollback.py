"""``promptyard rollback``: one SQL transaction and one push. Needs neither Prefect nor MLflow, and imports neither."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.ledger_access import open_ledger
from gateway.errors import Conflict

if TYPE_CHECKING:
    from tasks.releases.publishing import Publication

NOT_EVERYWHERE = "What it has not reached follows from SQL within a second."


def register(app: typer.Typer) -> None:
    app.command()(rollback)


def rollback(
    name: Annotated[str, typer.Argument(help="The prompt.")],
    version: Annotated[str, typer.Argument(help="Any registered version; by default the one that served before.")] = "",
    to: Annotated[str, typer.Option("--to", help="The same as VERSION.")] = "",
    bad: Annotated[
        str, typer.Option("--from", help="Only if this version still serves somebody: safe to repeat.")
    ] = "",
    by: Annotated[str, typer.Option("--by", help="Who decided; kept with the release.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose prompt; PROMPTYARD_TENANT by default.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Close an open release or experiment, or go back to the version before or any other. Gateways follow within a
    second."""
    from gateway.clock import SystemClock
    from tasks.releases.publishing import publish
    from tasks.releases.store import StandingChanged, roll_back, standing

    if version and to and version != to:
        raise Conflict(f"go back to {version} or to {to}?", hint="Name one version.")
    to = version or to
    settings, engine = open_ledger()
    owner = tenant or settings.tenant
    seen = standing(engine, owner, name)
    if bad and bad not in (seen.production, seen.candidate, *seen.arms):
        raise StandingChanged(f"{name} {bad} serves nobody: {seen.production or 'nothing'} is in production")
    target, undone, table = roll_back(engine, SystemClock(), tenant=owner, prompt=name, to=to, actor=by, expected=seen)
    committed = time.monotonic()
    publication = publish(settings, table)
    took_ms = 1000 * (time.monotonic() - committed)
    if as_json:
        typer.echo(json.dumps(_as_json(name, target, undone, publication, took_ms)))
        return
    serving = f"{name} {target} serves every user again" if target else f"nothing serves {name} any more"
    typer.echo(f"{serving}. Undone: {undone}.")
    typer.echo(said(publication, took_ms), err=not publication.verified)


def said(publication: "Publication", took_ms: float) -> str:
    """How far the revision got, in a sentence."""
    revision = f"routing revision {publication.revision}"
    if publication.problem:
        return f"{revision} is committed, not pushed: {publication.problem}. {NOT_EVERYWHERE}"
    if publication.behind:
        late = ", ".join(sorted(publication.behind))
        return (
            f"{revision}: {len(publication.behind)} of {publication.live} gateways are late ({late}). {NOT_EVERYWHERE}"
        )
    if not publication.live:
        return f"{revision}: no gateway runs; one that starts serves by it."
    gateways = "1 gateway serves" if publication.live == 1 else f"all {publication.live} gateways serve"
    return f"{revision}: {gateways} by it, {took_ms:.0f} ms after the commit."


def _as_json(name: str, target: str, undone: str, publication: "Publication", took_ms: float) -> dict[str, Any]:
    return {
        "prompt": name,
        "version": target,
        "undone": undone,
        "revision": publication.revision,
        "gateways": publication.live,
        "behind": publication.behind,
        "verified": publication.verified,
        "problem": publication.problem or None,
        "milliseconds": round(took_ms, 1),
    }
