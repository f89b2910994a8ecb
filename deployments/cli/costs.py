"""``promptyard costs``: what the calls cost and what the cache saved, from the ledger alone."""

import json
from typing import Annotated

import typer

from deployments.cli.ledger_access import open_ledger

DAY = 86_400.0


def register(app: typer.Typer) -> None:
    app.command()(costs)


def costs(
    days: Annotated[
        float, typer.Option("--days", min=0.01, max=3650, help="Length of the window that ends now.")
    ] = 1.0,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose calls; PROMPTYARD_TENANT by default.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Spend by prompt, version and provider, savings by the cache, who spent it, and the budgets of today (UTC)."""
    from rich.console import Console

    from deployments.cli.stages import StageView
    from gateway.clock import SystemClock

    with StageView() as view:
        view.begin("add up")
        settings, _ = open_ledger()
        from deployments.cli.costs_view import CostsShown, as_plain, print_costs
        from tasks.costs import budgets, by_origin, lines, spending

        clock, owner = SystemClock(), tenant or settings.tenant
        now = clock.now()
        # The functions inside the tasks: no run is made of a look at the ledger, and Prefect may be down.
        groups = spending.fn(settings, now - days * DAY, now + 1, owner)
        shown = CostsShown(
            tenant=owner,
            days=days,
            table=lines(groups),
            total=next(iter(lines(groups, by=())), None),
            origins=by_origin(groups),
            budgets=budgets.fn(settings, clock, owner),
        )
    if as_json:
        typer.echo(json.dumps(as_plain(shown), indent=2))
    else:
        print_costs(shown, Console())
