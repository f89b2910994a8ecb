"""``promptyard cache stats``: what the cache did, layer by layer, and what is the matter with it."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.ledger_access import open_ledger

if TYPE_CHECKING:
    from rich.table import Table

    from tasks.cache_stats import CacheStats

_BARS = " ▁▂▃▄▅▆▇█"


def register(group: typer.Typer) -> None:
    group.command("stats")(stats)


def stats(
    prompt: Annotated[str, typer.Option("--prompt", help="Of one prompt; all of the tenant's without it.")] = "",
    since: Annotated[str, typer.Option("--since", help="How far back: 90m, 24h, 7d.")] = "24h",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose calls; PROMPTYARD_TENANT by default.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Hits, latency and money by layer, memory, how many hits were wrong, and whether anything stale was found."""
    from rich.console import Console

    from deployments.cli.stages import StageView
    from deployments.cli.windows import window
    from gateway.clock import SystemClock

    back = window(since)
    with StageView() as view:
        view.begin("add up")
        settings, _ = open_ledger()
        from tasks.cache_stats import cache_stats

        clock = SystemClock()
        # The function inside the task: no run is made of a look at the ledger, and Prefect may be down.
        found = cache_stats.fn(settings, clock, tenant or settings.tenant, prompt, clock.now() - back)
    if as_json:
        typer.echo(json.dumps(as_plain(found), indent=2))
        return
    out = Console()
    for line in said(found):
        out.print(line, highlight=False, markup=False)
    if found.calls:
        out.print(layers_table(found))
        out.print(looks_table(found))


def said(found: "CacheStats") -> list[str]:
    """What is not in the table, a line each."""
    hours = (found.until - found.since) / 3600
    whose = f"{found.prompt} of {found.tenant}" if found.prompt else found.tenant
    if not found.calls:
        lines = [f"No answers of {whose} within {hours:g} hours."]
    else:
        unknown = f" ({found.unpriced} of unknown price)" if found.unpriced else ""
        lines = [
            f"{whose}, {hours:g} hours: {found.hits} of {found.calls} answers without a provider "
            f"({found.hit_rate:.1%}), ${found.cost_usd:.4f} spent, ${found.saved_usd:.4f} saved{unknown}.",
            f"hit rate over time  {spark(found)}",
        ]
    if found.memory is not None:
        limit = f" of {_size(found.memory.limit)}" if found.memory.limit else ""
        lines.append(f"Memory: {_size(found.memory.used)}{limit}, {found.memory.evicted} evicted since Redis started.")
    lines += [f"Warning: {one}" for one in found.warnings]
    for one in found.wrong:
        share = "none judged" if one.share is None else f"{one.wrong} of {one.judged} judged ones wrong"
        lines.append(f"Semantic hits of {one.prompt} {one.version} ({one.state}): {share}, at most {one.bound:.1%}.")
    stale = found.stale
    if stale.probes:
        lines.append(f"Stale: {stale.found} incidents in {stale.probes} probes of {stale.probed} answers.")
        lines += [f"  {name}" for name in stale.stale[:5]]
    else:
        lines.append("Stale: nothing was probed in this time; 'invalidate_cache' does it nightly.")
    return lines


def spark(found: "CacheStats") -> str:
    """The share of hits in each slice of time; a dot where nobody asked."""
    shown = []
    for bucket in found.buckets:
        calls = sum(one.calls for one in bucket.values())
        hits = sum(one.calls for layer, one in bucket.items() if layer != "none")
        shown.append(_BARS[max(1, round(hits / calls * (len(_BARS) - 1)))] if calls else "·")
    return "".join(shown)


def layers_table(found: "CacheStats") -> "Table":
    """Fits 80 columns."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("layer")
    for title in ("answers", "share", "p50 ms", "p95 ms", "saved USD"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in found.layers:
        name = "provider" if one.layer == "none" else one.layer
        numbers = (f"{value:.3g}" if value is not None else "-" for value in (one.p50_ms, one.p95_ms))
        table.add_row(name, str(one.calls), f"{one.share:.1%}", *numbers, f"{one.saved_usd:.4f}")
    return table


def looks_table(found: "CacheStats") -> "Table":
    """Fits 80 columns."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("asked")
    for title in ("times", "hits"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("why not", overflow="fold")
    for one in found.looks:
        why = ", ".join(f"{reason} {number}" for reason, number in list(one.reasons.items())[:4])
        table.add_row(one.layer, str(one.asked), f"{one.hits / one.asked:.1%}", why)
    return table


def as_plain(found: "CacheStats") -> dict[str, Any]:
    """For machines; money as numbers in US dollars."""
    return {
        "tenant": found.tenant,
        "prompt": found.prompt or None,
        "since": found.since,
        "until": found.until,
        "calls": found.calls,
        "hits": found.hits,
        "hit_rate": found.hit_rate,
        "cost_usd": float(found.cost_usd),
        "saved_usd": float(found.saved_usd),
        "unpriced": found.unpriced,
        "layers": [asdict(one) | {"saved_usd": float(one.saved_usd)} for one in found.layers],
        "looks": [
            {"layer": one.layer, "asked": one.asked, "hits": one.hits, "reasons": dict(one.reasons)}
            for one in found.looks
        ],
        "over_time": [
            {"from": start, "calls": {layer: one.calls for layer, one in bucket.items()}}
            for start, bucket in zip(found.bucket_starts, found.buckets, strict=True)
            if bucket
        ],
        "memory": None
        if found.memory is None
        else {"used": found.memory.used, "limit": found.memory.limit, "evicted": found.memory.evicted},
        "warnings": list(found.warnings),
        "wrong_hits": [asdict(one) | {"share": one.share} for one in found.wrong],
        "stale": asdict(found.stale),
    }


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
