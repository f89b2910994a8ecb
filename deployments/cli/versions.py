"""``promptyard versions``: what serves, what is on its way, and how every version does with live traffic."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.ledger_access import open_ledger

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from deployments.cli.versions_view import PromptState


def register(app: typer.Typer) -> None:
    app.command()(versions)


def versions(
    name: Annotated[str, typer.Argument(help="One prompt; all by default.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose prompts; PROMPTYARD_TENANT by default.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """List prompts with their versions: stage, share of users, verdict, quality, failures, latency, cost, hits.

    Of one prompt also its releases: how each ended, when, from which commit, approved by whom.
    """
    from rich.console import Console

    from deployments.cli.versions_history import print_history
    from deployments.cli.versions_view import as_json as state_as_json
    from deployments.cli.versions_view import print_prompts
    from tasks.releases.store import get_prompt, list_prompts

    settings, engine = open_ledger()
    owner = tenant or settings.tenant
    rows = [get_prompt(engine, owner, name)] if name else list_prompts(engine, owner)
    states = [_state(engine, owner, row.name) for row in rows]
    if as_json:
        typer.echo(json.dumps({"tenant": owner, "prompts": [state_as_json(state) for state in states]}, indent=2))
        return
    out = Console()
    print_prompts(states, out)
    if name:
        versions = {row.version: row for row in states[0].versions}
        print_history(states[0].releases, versions, states[0].departures, out)


def _state(engine: "Engine", tenant: str, prompt: str) -> "PromptState":
    from deployments.cli.versions_view import PromptState
    from gateway.ledger.reports import version_metrics
    from gateway.storage.engine import reading
    from tasks.releases.history import departures
    from tasks.releases.rows import open_experiment_of
    from tasks.releases.store import get_prompt, list_versions, open_releases, releases_of

    with reading(engine) as session:
        experiment = open_experiment_of(session, tenant, prompt)
        left = departures(session, tenant, prompt)
    return PromptState(
        prompt=get_prompt(engine, tenant, prompt),
        release=next((row for row in open_releases(engine) if (row.tenant, row.prompt) == (tenant, prompt)), None),
        versions=list_versions(engine, tenant, prompt),
        metrics={found.version: found for found in version_metrics(engine, tenant, prompt)},
        releases=releases_of(engine, tenant, prompt),
        departures=left,
        experiment=experiment,
    )
