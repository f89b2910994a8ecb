"""The ledger in aggregate: what was spent and saved, and how each version of a prompt does.

Times are seconds since the epoch, intervals are [since, until). Every function raises StorageUnavailable when SQL does
not answer. Scores join calls on id *and* tenant.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Engine, Integer, and_, case, func, select, type_coerce
from sqlalchemy.orm import Session

from gateway.storage.engine import reading
from gateway.storage.models import CallRow, Money, ScoreRow
from gateway.types import Layer, Origin

LIVE = (Origin.LIVE.value,)
CHAT = CallRow.kind == "chat"
"""Only these are answers: an embedding is money, and nothing else."""
_KEPT = [layer.value for layer in Layer if layer not in (Layer.NONE, Layer.COALESCED)]
"""Layers whose answers were made for an earlier call."""
_DIMENSIONS = ("tenant", "prompt", "version", "provider", "model", "origin", "layer", "kind")


class Spend(Struct, frozen=True, kw_only=True):
    """Money and tokens of one group; ``key`` maps each dimension to its value. ``unpriced``: calls of unknown cost."""

    key: Mapping[str, str]
    calls: int
    cached: int
    failed: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    saved_usd: Decimal


class VersionMetrics(Struct, frozen=True, kw_only=True):
    """Live traffic of one version. Latencies are nearest-rank percentiles of answered calls, None without any."""

    version: str
    calls: int
    users: int
    failures: int
    cached: int
    coalesced: int
    hit_rate: float
    fell_back: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    cost_usd: Decimal
    saved_usd: Decimal
    scores: Mapping[str, float]
    """Mean by metric."""
    scored: Mapping[str, int]
    """Number of scores by metric."""
    first_at: float
    last_at: float


def spend(
    engine: Engine,
    since: float,
    until: float,
    by: Sequence[str] = ("prompt", "version", "provider"),
    *,
    tenant: str | None = None,
) -> list[Spend]:
    """Of all origins and kinds, for a judge and an embedding cost money too; dearest first.

    Raises ``ValueError`` for an unknown dimension.
    """
    unknown = set(by) - set(_DIMENSIONS)
    if unknown:
        raise ValueError(f"unknown dimensions {sorted(unknown)}: choose of {', '.join(_DIMENSIONS)}")
    groups = [getattr(CallRow, name) for name in by]
    served = CallRow.layer != Layer.NONE.value
    unpriced = and_(CallRow.status == "ok", CallRow.cost_usd.is_(None))
    sums = [
        func.count().label("calls"),
        _count(served).label("cached"),
        _count(CallRow.status == "failed").label("failed"),
        _count(unpriced).label("unpriced"),
        _total(CallRow.input_tokens).label("input_tokens"),
        _total(CallRow.output_tokens).label("output_tokens"),
        _money(CallRow.cost_usd).label("cost_usd"),
        _money(CallRow.saved_usd).label("saved_usd"),
    ]
    query = select(*groups, *sums).where(*within(since, until)).group_by(*groups)
    if tenant is not None:
        query = query.where(CallRow.tenant == tenant)
    with reading(engine) as session:
        rows = [dict(row) for row in session.execute(query).mappings()]
    found = [Spend(key={name: row.pop(name) for name in by}, **row) for row in rows if row["calls"]]
    return sorted(found, key=lambda group: (-group.cost_usd, -group.calls, tuple(group.key.values())))


def version_metrics(engine: Engine, tenant: str, prompt: str, since: float = 0.0) -> list[VersionMetrics]:
    """One for each version that live calls met since then, in the order of first use."""
    mine = and_(
        CallRow.tenant == tenant,
        CallRow.prompt == prompt,
        CallRow.origin.in_(LIVE),
        CallRow.started_at >= since,
        CallRow.version != "",
        CHAT,
    )
    totals = (
        select(
            CallRow.version,
            func.count().label("calls"),
            func.count(func.distinct(func.nullif(CallRow.user, ""))).label("users"),
            _count(CallRow.status == "failed").label("failures"),
            _count(CallRow.layer.in_(_KEPT)).label("cached"),
            _count(CallRow.layer == Layer.COALESCED.value).label("coalesced"),
            _count(CallRow.fell_back).label("fell_back"),
            _money(CallRow.cost_usd).label("cost_usd"),
            _money(CallRow.saved_usd).label("saved_usd"),
            func.min(CallRow.started_at).label("first_at"),
            func.max(CallRow.started_at).label("last_at"),
        )
        .where(mine)
        .group_by(CallRow.version)
        .order_by(func.min(CallRow.started_at), CallRow.version)
    )
    scores = (
        select(CallRow.version, ScoreRow.metric, func.avg(ScoreRow.value), func.count())
        .join(ScoreRow, and_(ScoreRow.call_id == CallRow.id, ScoreRow.tenant == CallRow.tenant))
        .where(mine)
        .group_by(CallRow.version, ScoreRow.metric)
    )
    with reading(engine) as session:
        rows = session.execute(totals).mappings().all()
        median, slow = _latency_percentile(session, mine, 50), _latency_percentile(session, mine, 95)
        means: dict[str, dict[str, float]] = defaultdict(dict)
        numbers: dict[str, dict[str, int]] = defaultdict(dict)
        for version, metric, mean, number in session.execute(scores):
            means[version][metric], numbers[version][metric] = float(mean), number
    return [
        VersionMetrics(
            **row,
            hit_rate=row["cached"] / row["calls"],
            latency_p50_ms=median.get(row["version"]),
            latency_p95_ms=slow.get(row["version"]),
            scores=means[row["version"]],
            scored=numbers[row["version"]],
        )
        for row in rows
    ]


def budget_spend(engine: Engine, tenant: str, prompt: str | None, day: date) -> Decimal:
    """US dollars spent on a UTC day, by all origins; by the whole tenant when ``prompt`` is None.

    A prompt's budget is not touched by its mirrored calls, which have one of their own.
    """
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    query = select(_money(CallRow.cost_usd)).where(
        CallRow.tenant == tenant, *within(start.timestamp(), (start + timedelta(days=1)).timestamp())
    )
    if prompt is not None:
        query = query.where(CallRow.prompt == prompt, CallRow.origin != Origin.MIRROR.value)
    with reading(engine) as session:
        return session.scalar(query) or Decimal(0)


def _latency_percentile(session: Session, mine: ColumnElement[bool], percent: int) -> dict[str, float]:
    """Nearest rank, ⌈n·p/100⌉, by version, in plain SQL: SQLite has no ``percentile_cont``."""
    answered = and_(mine, CallRow.status == "ok")
    ranked = (
        select(
            CallRow.version,
            CallRow.latency_ms,
            func.row_number().over(partition_by=CallRow.version, order_by=CallRow.latency_ms).label("rank"),
            func.count().over(partition_by=CallRow.version).label("n"),
        )
        .where(answered)
        .subquery()
    )
    chosen = select(ranked.c.version, ranked.c.latency_ms).where(ranked.c.rank == (ranked.c.n * percent + 99) // 100)
    return dict(session.execute(chosen).tuples().all())


def within(since: float, until: float) -> Iterable[ColumnElement[bool]]:
    return (CallRow.started_at >= since, CallRow.started_at < until)


def _count(condition: Any) -> ColumnElement[int]:
    return _total(case((condition, 1), else_=0))


def _total(value: Any) -> ColumnElement[int]:
    return type_coerce(func.coalesce(func.sum(value), 0), Integer)


def _money(column: Any) -> ColumnElement[Decimal]:
    return type_coerce(func.coalesce(func.sum(column), 0), Money)
