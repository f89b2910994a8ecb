"""``promptyard keys``: make, list and revoke API keys. A key is shown once, when it is made."""

import json
from typing import Annotated

import typer

from deployments.cli.ledger_access import open_ledger

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
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once."""
    from gateway.auth.keys import create_key
    from gateway.clock import SystemClock

    settings, engine = open_ledger()
    owner = tenant or settings.tenant
    plain, row = create_key(engine, SystemClock(), owner, name, scope or ["chat", "feedback"])
    if as_json:
        typer.echo(json.dumps({"id": row.id, "tenant": owner, "name": name, "scopes": list(row.scopes), "key": plain}))
        return
    typer.echo(plain)
    typer.echo(f"{row.id} for tenant {owner}: {', '.join(row.scopes)}. Keep it: it is not shown again.", err=True)


def list_all(tenant: Tenant = "", as_json: Json = False) -> None:
    """List the keys of a tenant, revoked ones included."""
    from rich.console import Console
    from rich.table import Column, Table

    from gateway.auth.keys import list_keys

    settings, engine = open_ledger()
    rows = list_keys(engine, tenant or settings.tenant)
    if as_json:
        fields = ("id", "tenant", "name", "prefix", "scopes", "created_at", "revoked_at")
        typer.echo(json.dumps([{field: getattr(row, field) for field in fields} for row in rows]))
        return
    whole = Column("id", no_wrap=True, min_width=30)  # revoking needs all of it
    table = Table(whole, "name", "begins with", "scopes", "state", box=None)
    for row in rows:
        table.add_row(
            row.id, row.name, f"{row.prefix}…", " ".join(row.scopes), "revoked" if row.revoked_at else "active"
        )
    Console().print(table)


def revoke(key_id: Annotated[str, typer.Argument(help="The id that 'keys list' shows.")], tenant: Tenant = "") -> None:
    """Revoke a key; gateways refuse it within PROMPTYARD_KEY_CACHE_TTL seconds."""
    from gateway.auth.keys import revoke_key
    from gateway.clock import SystemClock

    settings, engine = open_ledger()
    revoke_key(engine, SystemClock(), key_id, tenant or settings.tenant)
    typer.echo(f"Revoked {key_id}; gateways refuse it within {settings.key_cache_ttl:g} s.")
