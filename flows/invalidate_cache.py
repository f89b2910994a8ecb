"""Nightly, or by hand for a scope: remove what is of no use from the answer cache, and prove that the rest is true."""

from prefect import flow
from pydantic import BaseModel, Field

from blocks.workspace import load_workspace
from gateway.cache.memory import CRITICAL_AT, RedisMemory
from gateway.clock import SystemClock
from tasks.alerts import alert
from tasks.artifacts import markdown, markdown_table
from tasks.cache_history import note_probe
from tasks.cache_memory import alert_memory, memory
from tasks.cache_scope import CacheScope
from tasks.conversations import forget_turns
from tasks.idempotency_keys import forget_keys
from tasks.invalidation import Reason, Survey, sweep
from tasks.warm_marks import forget_marks


class InvalidateRequest(BaseModel):
    """What to remove. Without a prompt, version, document, tag or tenant: what no call can be served with any more."""

    dry_run: bool = Field(True, description="Only say what would go. The nightly schedule passes false.")
    tenant: str = Field("", description="All answers of a tenant; with a prompt or document, empty is the workspace's.")
    prompt: str = Field("", description="All answers of a prompt.")
    version: str = Field("", description="All answers of a version of that prompt.")
    document: str = Field("", description="All answers made from a document: 'collection/id'.")
    tag: str = Field("", description="All answers of prompts whose cache policy names this tag.")
    memory_alert: float = Field(0.85, gt=0, le=1, description="Share of maxmemory from which people are told.")
    probe: int = Field(200, ge=0, le=10_000, description="Remaining entries whose documents are checked against SQL.")
    seed: int = Field(1, ge=0, description="Of the sample.")


@flow(name="invalidate_cache", persist_result=False)
def invalidate_cache(request: InvalidateRequest | None = None) -> Survey:
    """The artifact says how much would go, or went, and why; and that nothing stale is served."""
    request = request or InvalidateRequest()
    settings, clock = load_workspace().settings, SystemClock()
    narrowed = bool(request.prompt or request.document or request.version or request.tag)
    tenant = request.tenant or (settings.tenant if narrowed else "")
    scope = CacheScope(tenant, request.prompt, request.version, request.document, request.tag)
    survey = sweep(settings, clock, scope, dry_run=request.dry_run, probe=request.probe, seed=request.seed)
    note_probe(settings, clock, "invalidate_cache", scope.tenant, "", survey.probed, survey.stale)
    if not scope.everything and not request.dry_run and not request.document:
        forget_marks(settings, scope.tenant, request.prompt)  # 'advance_canaries' warms again
    keys = forget_keys(settings, clock, dry_run=request.dry_run) if scope.everything else 0
    turns = forget_turns(settings, clock, dry_run=request.dry_run) if scope.everything else 0
    held = memory(settings)
    _show(survey, held, keys, turns, request.memory_alert)
    if survey.stale:
        alert(settings, "stale_cache", f"{len(survey.stale)} cached answers name documents that are not current")
    if not request.dry_run:
        alert_memory(settings, held, warn_at=request.memory_alert, critical_at=max(request.memory_alert, CRITICAL_AT))
    return survey


def _show(survey: Survey, held: RedisMemory, keys: int, turns: int, memory_alert: float) -> None:
    count = sum(survey.entries.values())
    title = f"{count} of {survey.seen} answers would go" if survey.dry_run else f"{survey.removed} answers removed"
    rows = [
        {"reason": reason.value, "answers": survey.entries.get(reason, 0), "size": _size(survey.sizes.get(reason, 0))}
        for reason in Reason
    ]
    rows.append({"reason": "all that was seen", "answers": survey.seen, "size": _size(survey.seen_bytes)})
    limit = "no limit" if held.share is None else f"{_size(held.limit)}, {held.share:.0%} used"
    pressure = " **Under pressure.**" if held.share is not None and held.share >= memory_alert else ""
    proof = f"{survey.probed} remaining answers checked against the documents: **{len(survey.stale)} stale**."
    found = "\n".join(f"- `{one}`" for one in survey.stale[:50])
    markdown(
        "cache",
        f"# {title}\n\n{markdown_table(rows)}\n{proof}\n\n{found}\n\n"
        f"Memory: {_size(held.used)} ({limit}), {held.evicted} evicted since start.{pressure}\n\n"
        f"Idempotency-Keys past their retention, with the answers kept for them: {keys}.\n"
        f"Turns of conversations past theirs: {turns}.\n",
        title,
    )


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
