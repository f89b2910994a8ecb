"""``promptyard cache warm``: answer the most frequent real questions before users ask them again."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from deployments.cli.ledger_access import open_ledger


def register(group: typer.Typer) -> None:
    group.command("warm")(warm)


def warm(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The prompt.")],
    version: Annotated[str, typer.Option("--version", help="By default the one in production.")] = "",
    top: Annotated[
        int | None, typer.Option("--top", min=0, max=5000, help="How many questions; by default as the prompt says.")
    ] = None,
    budget: Annotated[float, typer.Option("--budget", min=0.0001, help="US dollars after which it stops.")] = 1.0,
    calls: Annotated[int, typer.Option("--calls", min=1, max=5000, help="Upstream calls after which it stops.")] = 500,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose; PROMPTYARD_TENANT by default.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Answer the most frequent questions of users before they ask again. What is warm already costs nothing."""
    from deployments.cli.stages import StageView
    from gateway.clock import SystemClock

    with StageView() as view:
        view.begin("warm")
        settings, _ = open_ledger()
        from tasks import warming
        from tasks.warm_marks import can_be_warmed, mark_warm

        clock, owner = SystemClock(), tenant or settings.tenant
        # The functions inside the tasks: Prefect may be down.
        serving = warming.version_to_warm.fn(settings, owner, name, version)
        questions = warming.questions_to_warm.fn(settings, clock, serving, top)
        found = warming.warm.fn(settings, serving, questions, warming.WarmBudget(budget, calls))
        if found.done:
            mark_warm.fn(settings, clock, owner, name, serving.version)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"rows": list(found.rows)}, indent=2))
        return
    if not can_be_warmed(serving):
        typer.echo(f"{name} {found.version} cannot be warmed: its prompt.yaml keeps no answers that processes share.")
        return
    typer.echo(
        f"{name} {found.version}: of {found.questions} frequent questions {found.answered} answered now, "
        f"{found.already_warm} were warm, {found.failed} failed; ${found.cost_usd:.4f}. {found.note}".rstrip()
    )
    if found.cold_ms is not None and found.warm_ms is not None:
        typer.echo(f"An answer took {found.cold_ms:.0f} ms cold and takes {found.warm_ms:.1f} ms warm (means).")
