"""``promptyard cache advise``: whether a cache pays for a prompt, which one, and what to do where none does."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.ledger_access import open_ledger

if TYPE_CHECKING:
    from tasks.cache_advice import Advice, PromptFacts

Pair = tuple["PromptFacts", "Advice"]


def register(group: typer.Typer) -> None:
    group.command("advise")(advise)


def advise(
    prompt: Annotated[str, typer.Option("--prompt", help="One prompt; all that were called without it.")] = "",
    since: Annotated[str, typer.Option("--since", help="How far back: 24h, 14d.")] = "14d",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose calls; PROMPTYARD_TENANT by default.")] = "",
    redis_usd: Annotated[
        float, typer.Option("--redis-usd", min=0, help="What the shared cache costs a month; 0 if it is there anyway.")
    ] = 15.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Which cache each prompt needs, if any: by diversity, freshness and volume, with the break-even in money."""
    from deployments.cli.stages import StageView
    from deployments.cli.windows import window
    from gateway.clock import SystemClock

    back = window(since)
    with StageView() as view:
        view.begin("measure")
        settings, _ = open_ledger()
        from tasks import cache_advice
        from tasks.cache_facts import prompt_facts

        clock, policy = SystemClock(), cache_advice.AdvicePolicy(redis_usd_month=redis_usd)
        # The function inside the task: no run is made of a look at the ledger, and Prefect may be down.
        facts = prompt_facts.fn(settings, clock, tenant or settings.tenant, prompt, clock.now() - back)
        found = [(one, cache_advice.advise(one, policy)) for one in facts]
    if as_json:
        typer.echo(json.dumps([as_plain(*pair) for pair in found], indent=2))
        return
    for line in said(found):
        typer.echo(line)


def said(found: Sequence[Pair]) -> list[str]:
    """A few lines a prompt."""
    if not found:
        return ["No live calls of a prompt in this time."]
    lines: list[str] = []
    for facts, advice in found:
        diverse = "unknown" if facts.diversity is None else f"{facts.diversity:.0%}"
        lines += [
            f"{facts.prompt}: {advice.kind.value}, because {advice.why}.",
            f"  {facts.calls_a_day:,.0f} calls a day (by {facts.calls:,} in {_time(facts.days * 86_400)}), "
            f"{diverse} of them new, "
            f"answers good for {_time(facts.freshness)}, {facts.hit_rate:.0%} hits now",
            f"  {_money(advice)}",
        ]
        lines += [f"  instead: {one}" for one in advice.instead]
        lines += [f"  RED FLAG: {one}" for one in advice.red_flags]
    return lines


def as_plain(facts: "PromptFacts", advice: "Advice") -> dict[str, Any]:
    """For machines: the advice, and the facts that it goes by."""
    measured = asdict(facts) | {
        "calls_a_day": facts.calls_a_day,
        "diversity": facts.diversity,
        "freshness": facts.freshness,
    }
    return asdict(advice) | {
        "kind": advice.kind.value,
        "break_even": asdict(advice.break_even) | {"pays": advice.break_even.pays},
        "facts": measured,
    }


def _money(advice: "Advice") -> str:
    money = advice.break_even
    if money.saves_usd is None:
        return "what it saves is not known: no call of it has a known price"
    needed = "never" if money.calls_a_day is None else f"from {money.calls_a_day:,.0f} calls a day on"
    return f"saves ${money.saves_usd:.2f} a day at most, a shared cache costs ${money.costs_usd:.2f}: it pays {needed}"


def _time(seconds: float) -> str:
    for unit, size in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
