"""What the cache did in a window: hits, latency and money by layer, memory, and how wrong and how stale it was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from gateway.cache.memory import RedisMemory, Role, read_memory, warnings_of
from gateway.clock import Clock
from gateway.ledger.cache_reports import LayerCount, LayerLooks, layer_history, layer_latencies, layer_looks, quantile
from gateway.settings import Settings
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.types import Layer
from tasks.cache_history import Incidents, MemoryPoint, incidents, memory_points
from tasks.llm import client
from tasks.registration import engine_of
from tasks.step import step
from tasks.wrong_hits import WrongHits, wrong_hits

BUCKETS = 48
NOTHING = Decimal(0)


@dataclass(frozen=True)
class LayerStats:
    """``share`` is of all answers. Latencies are within 12 %, None without an answer."""

    layer: str
    calls: int
    share: float
    p50_ms: float | None
    p95_ms: float | None
    saved_usd: Decimal


@dataclass(frozen=True)
class CacheStats:
    """Live answers of a tenant in [since, until), of one prompt if it is named.

    ``looks`` are what each layer said when it was asked, embeddings and contexts included, which answer nobody.
    ``buckets`` hold what each layer did from each of ``bucket_starts`` on. ``memory`` is None while Redis does not
    answer; ``wrong`` has one line a scope whose semantic hits are judged.
    """

    tenant: str
    prompt: str
    since: float
    until: float
    calls: int
    hits: int
    cost_usd: Decimal
    saved_usd: Decimal
    unpriced: int
    layers: Sequence[LayerStats]
    looks: Sequence[LayerLooks]
    bucket_starts: Sequence[float]
    buckets: Sequence[Mapping[str, LayerCount]]
    memory: RedisMemory | None = None
    warnings: Sequence[str] = ()
    memory_points: Sequence[MemoryPoint] = ()
    wrong: Sequence[WrongHits] = ()
    stale: Incidents = field(default_factory=Incidents)

    @property
    def hit_rate(self) -> float:
        """Share of the answers for which no provider was asked."""
        return self.hits / self.calls if self.calls else 0.0


@step("cache statistics")
def cache_stats(settings: Settings, clock: Clock, tenant: str, prompt: str, since: float) -> CacheStats:
    """From ``since`` until now. Raises StorageUnavailable when SQL does not answer; Redis may be down."""
    engine, until = engine_of(settings), clock.now()
    named = prompt or None
    history = layer_history(engine, since, until, BUCKETS, tenant=tenant, prompt=named)
    bins = layer_latencies(engine, since, until, tenant=tenant, prompt=named)
    held = memory_of(settings)
    width = max(1, int((until - since) / BUCKETS))
    buckets: list[dict[str, LayerCount]] = [{} for _ in range(BUCKETS)]
    for one in history:
        buckets[one.bucket][one.layer] = one
    calls = sum(one.calls for one in history)
    return CacheStats(
        tenant=tenant,
        prompt=prompt,
        since=since,
        until=until,
        calls=calls,
        hits=sum(one.calls for one in history if one.layer != Layer.NONE),
        cost_usd=sum((one.cost_usd for one in history), NOTHING),
        saved_usd=sum((one.saved_usd for one in history), NOTHING),
        unpriced=sum(one.unpriced for one in history),
        layers=by_layer(history, bins),
        looks=layer_looks(engine, since, until, tenant=tenant, prompt=named),
        bucket_starts=[int(since) + place * width for place in range(BUCKETS)],
        buckets=buckets,
        memory=held,
        warnings=warnings_of(held, Role.CACHE) if held else ("The cache Redis does not answer.",),
        memory_points=memory_points(engine, since, until),
        wrong=wrong_hits(engine, tenant, prompt, since),
        stale=incidents(engine, since, until),
    )


def by_layer(history: Sequence[LayerCount], bins: Mapping[str, Sequence[int]]) -> list[LayerStats]:
    """In the order in which layers are asked; the provider last. Pure."""
    order = {layer.value: place for place, layer in enumerate(Layer)}
    total = sum(one.calls for one in history)
    found: dict[str, list[LayerCount]] = {}
    for one in history:
        found.setdefault(one.layer, []).append(one)
    return [
        LayerStats(
            layer=layer,
            calls=(calls := sum(one.calls for one in found[layer])),
            share=calls / total,
            p50_ms=quantile(bins.get(layer, ()), 0.5),
            p95_ms=quantile(bins.get(layer, ()), 0.95),
            saved_usd=sum((one.saved_usd for one in found[layer]), NOTHING),
        )
        for layer in sorted(found, key=lambda layer: order.get(layer, len(order)))
    ]


def memory_of(settings: Settings) -> RedisMemory | None:
    """Of the cache Redis; None while it does not answer."""
    known = client(settings)

    async def ask() -> RedisMemory | None:
        try:
            return await read_memory(known.gateway.cache_redis, max(1.0, settings.redis_timeout))
        except REDIS_TROUBLE:
            return None

    return known.run(ask(), patience=30.0)
