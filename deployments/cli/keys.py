"""``promptyard keys``: make, list and revoke API keys. A key is shown once, when it is made."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.ledger_access import open_ledger

if TYPE_CHECKING:
    from rich.table import Table

    from gateway.storage.models import ApiKeyRow

Json = Annotated[bool, typer.Option("--json", help="Print for machines.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose keys; PROMPTYARD_TENANT by default.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_all)
    group.command("revoke")(revoke)
    app.add_typer(group, name="keys")


def create(
    name: Annotated[str, typer.Argument(help="What a person recognises the key by.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="May be repeated; chat and feedback by default.")
    ] = None,
    requests: Annotated[
        int | None, typer.Option("--requests-per-minute", help="Most requests a minute; without limit by default.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens-per-minute", help="Most tokens a minute, in and out together.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option("--daily-budget", help="US dollars that the key may spend on a UTC day.")
    ] = None,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once."""
    from gateway.auth.keys import create_key
    from gateway.clock import SystemClock
    from gateway.types import KeyLimits

    settings, engine = open_ledger()
    owner = tenant or settings.tenant
    limits = KeyLimits(requests, tokens, budget)
    plain, row = create_key(engine, SystemClock(), owner, name, scope or ["chat", "feedback"], limits)
    if as_json:
        made = {"id": row.id, "tenant": owner, "name": name, "scopes": list(row.scopes), "limits": row.limits}
        typer.echo(json.dumps({**made, "key": plain}))
        return
    typer.echo(plain)
    bounds = f" ({_shown(row.limits)})" if row.limits else ""
    about = f"{row.id} for tenant {owner}: {', '.join(row.scopes)}{bounds}"
    typer.echo(f"{about}. Keep it: it is not shown again.", err=True)


def list_all(tenant: Tenant = "", as_json: Json = False) -> None:
    """List the keys of a tenant, revoked ones included."""
    from rich.console import Console

    from gateway.auth.keys import list_keys

    settings, engine = open_ledger()
    rows = list_keys(engine, tenant or settings.tenant)
    if as_json:
        fields = ("id", "tenant", "name", "prefix", "scopes", "limits", "created_at", "revoked_at")
        typer.echo(json.dumps([{field: getattr(row, field) for field in fields} for row in rows]))
        return
    Console().print(_table(rows))


def _table(rows: "Sequence[ApiKeyRow]") -> "Table":
    """Two lines a key where one would be cut: nothing of a scope or an id is left out at 80 columns."""
    from rich.table import Column, Table

    table = Table(
        Column("id and name", no_wrap=True),  # revoking needs all of the id
        Column("begins with", no_wrap=True),
        Column("scopes and limits", overflow="fold"),
        Column("state", no_wrap=True),
        box=None,
        padding=(0, 1),
    )
    for row in rows:
        state = "revoked" if row.revoked_at else "active"
        may = f"{' '.join(row.scopes)}\nlimits: {_shown(row.limits)}"
        table.add_row(f"{row.id}\n{row.name}", f"{row.prefix}…", may, state)
    return table


def revoke(
    key: Annotated[str, typer.Argument(help="Its id or, if no other active key has it, its name; see 'keys list'.")],
    tenant: Tenant = "",
) -> None:
    """Revoke a key; gateways refuse it within PROMPTYARD_KEY_CACHE_TTL seconds."""
    from gateway.auth.keys import revoke_key
    from gateway.clock import SystemClock

    settings, engine = open_ledger()
    row = revoke_key(engine, SystemClock(), key, tenant or settings.tenant)
    typer.echo(f"Revoked {row.id} ({row.name}); gateways refuse it within {settings.key_cache_ttl:g} s.")


def _shown(limits: Mapping[str, Any]) -> str:
    units = (
        ("requests_per_minute", "{:,} requests/min"),
        ("tokens_per_minute", "{:,} tokens/min"),
        ("daily_budget_usd", "${:,.2f}/day"),
    )
    return ", ".join(text.format(limits[name]) for name, text in units if name in limits) or "none"
