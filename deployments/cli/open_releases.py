"""The releases that are under way, for ``promptyard status``: where each stands, and what it waits for."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text


def read_open_releases() -> list[dict[str, Any]]:
    """From the ledger, oldest first; nothing where it cannot be read, which the state of the stack explains."""
    from deployments.cli.ledger_access import open_ledger
    from gateway.errors import PromptyardError
    from tasks.releases import store

    try:
        _, engine = open_ledger()
        rows = store.open_releases(engine)
    except (PromptyardError, OSError, ValueError):
        return []
    return [
        {
            "id": row.id,
            "tenant": row.tenant,
            "prompt": row.prompt,
            "version": row.version,
            "stage": row.stage,
            "share_percent": row.weight / 100,
            "reason": row.reason,
        }
        for row in rows
    ]


def print_open_releases(releases: Sequence[dict[str, Any]], out: Console) -> None:
    """A line each, and why it is where it is."""
    for one in releases:
        share = f", {one['share_percent']:g} % of the users" if one["stage"] == "canary" else ""
        words = {"mirror": "compared on mirrored calls, which no user sees"}.get(one["stage"], "")
        stage = words or one["stage"].replace("_", " ")
        out.print(Text.assemble((f"{one['prompt']} {one['version']}", "bold"), f": {stage}{share}"), soft_wrap=True)
        if one["reason"]:
            out.print(Text(f"  {one['reason']}", "dim"), soft_wrap=True)
