"""Hourly: what the cache did, layer by layer, whether it pays, and pictures of both."""

from datetime import UTC, datetime
from decimal import Decimal

from prefect import flow
from pydantic import BaseModel, Field

from blocks.workspace import load_workspace
from gateway.clock import Clock, SystemClock
from gateway.settings import Settings
from tasks.alerts import alert
from tasks.artifacts import image, markdown, markdown_table
from tasks.cache_advice import Advice, PromptFacts, advise
from tasks.cache_facts import prompt_facts
from tasks.cache_history import note_memory
from tasks.cache_memory import alert_memory
from tasks.cache_plots import memory_over_time, overview
from tasks.cache_stats import CacheStats, cache_stats
from tasks.once import announce_once
from tasks.registration import engine_of


class CacheReportRequest(BaseModel):
    """Which answers to look at."""

    tenant: str = Field("", description="Empty: the workspace's tenant.")
    prompt: str = Field("", description="Empty: all prompts.")
    hours: float = Field(24.0, gt=0, le=24 * 400, description="Length of the window, which ends now.")
    advice_days: float = Field(14.0, gt=0, le=400, description="Length of the window that the advice goes by.")


@flow(name="report_cache", persist_result=False)
def report_cache(request: CacheReportRequest | None = None) -> CacheStats:
    """Reads the ledger and Redis, notes the memory, and changes nothing else."""
    request = request or CacheReportRequest()
    settings, clock = load_workspace().settings, SystemClock()
    tenant, now = request.tenant or settings.tenant, clock.now()
    stats = cache_stats(settings, clock, tenant, request.prompt, now - 3600 * request.hours)
    facts: list[PromptFacts] = []
    if stats.calls:  # of a named prompt that nobody called there is nothing to say
        facts = prompt_facts(settings, clock, tenant, request.prompt, now - 86_400 * request.advice_days)
    advice = [advise(one) for one in facts]
    if stats.memory is not None:
        note_memory(settings, clock, stats.memory)
        alert_memory(settings, stats.memory)
    _show(stats, facts, advice)
    for one in advice:
        if one.red_flags and _is_news(settings, clock, tenant, one.prompt, now):
            alert(settings, "cache_red_flag", f"{one.prompt}: {' '.join(one.red_flags)}", prompt=one.prompt)
    return stats


def _is_news(settings: Settings, clock: Clock, tenant: str, prompt: str, now: float) -> bool:
    """People are told once a day, not every hour."""
    day = datetime.fromtimestamp(now, UTC).date().isoformat()
    resource, payload = f"promptyard.prompt.{tenant}.{prompt}", {"tenant": tenant, "prompt": prompt, "day": day}
    return announce_once(
        engine_of(settings), clock, "promptyard.cache.red_flag", resource, payload, (tenant, prompt, day)
    )


def _show(stats: CacheStats, facts: list[PromptFacts], advice: list[Advice]) -> None:
    title = f"{stats.hit_rate:.0%} of {stats.calls} answers from the cache, {_usd(stats.saved_usd)} saved"
    layers = [
        {
            "layer": "provider" if one.layer == "none" else one.layer,
            "answers": one.calls,
            "share": f"{one.share:.1%}",
            "p50 (ms)": one.p50_ms and round(one.p50_ms, 1),
            "p95 (ms)": one.p95_ms and round(one.p95_ms, 1),
            "saved (USD)": one.saved_usd,
        }
        for one in stats.layers
    ]
    looks = [
        {
            "layer": one.layer,
            "asked": one.asked,
            "hits": f"{one.hits / one.asked:.1%}",
            "why not": ", ".join(f"{reason} {number}" for reason, number in list(one.reasons.items())[:4]),
        }
        for one in stats.looks
    ]
    judged = [
        {"prompt": one.prompt, "version": one.version, "state": one.state, "judged": one.judged, "wrong": one.wrong}
        | {"wrong at most": f"{one.bound:.1%}"}
        for one in stats.wrong
    ]
    advised = [
        {
            "prompt": one.prompt,
            "advice": one.kind.value,
            "calls a day": round(fact.calls_a_day),
            "new questions": None if fact.diversity is None else f"{fact.diversity:.0%}",
            "pays from (calls a day)": pays if (pays := one.break_even.calls_a_day) is None else round(pays),
            "red flags": " ".join(one.red_flags) or "none",
            "because": one.why,  # last: a wide cell pushes what follows out of sight
        }
        for fact, one in zip(facts, advice, strict=True)
    ]
    stale = f"{stats.stale.found} incidents in {stats.stale.probes} probes of {stats.stale.probed} answers."
    warnings = "".join(f"- {one}\n" for one in stats.warnings)
    markdown(
        "cache-report",
        f"# {title}\n\n{markdown_table(layers)}\n{markdown_table(looks)}\n"
        f"## Does it pay?\n\n{markdown_table(advised)}\n"
        f"## Wrong semantic hits\n\n{markdown_table(judged)}\n## Stale\n\n{stale}\n\n"
        f"## Redis\n\n{warnings or 'Fine.'}\n",
        title,
    )
    if stats.calls:
        image("cache-report-plot", overview(stats), title)
    if stats.memory_points:
        points = [(point.at, point.used) for point in stats.memory_points]
        image("cache-report-memory", memory_over_time(points, stats.memory_points[-1].maximum), "memory of the cache")


def _usd(amount: Decimal) -> str:
    return f"${amount:.4f}" if amount < 1 else f"${amount:.2f}"
