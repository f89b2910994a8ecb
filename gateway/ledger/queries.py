"""What the control plane reads from the ledger. Times are seconds since the epoch, intervals are [since, until).

Every function raises StorageUnavailable when SQL does not answer. Scores join calls on id *and* tenant.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Engine, Integer, Text, and_, case, cast, exists, func, select, type_coerce
from sqlalchemy.orm import Session

from gateway.storage.engine import reading
from gateway.storage.models import CallRow, Money, ScoreRow
from gateway.types import Layer, Origin

_LIVE = (Origin.LIVE.value,)
_SOURCES = ("assertion", "judge", "feedback")
_DIMENSIONS = ("tenant", "prompt", "version", "provider", "model", "origin", "layer")


class ReleaseCall(Struct, frozen=True, kw_only=True):
    """What the evidence of a release needs of a live call.

    ``scores`` holds one value a metric: of several sources, the first in the order asked for. ``scored_at`` says when.
    """

    id: str
    user: str
    arm: str
    version: str
    weight: int
    started_at: float
    latency_ms: float
    status: str
    error: str
    layer: str
    fell_back: bool
    evidence: bool
    cost_usd: Decimal | None
    scores: Mapping[str, float]
    scored_at: Mapping[str, float]


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


class FrequentQuestion(Struct, frozen=True, kw_only=True):
    """``variables`` ask it again."""

    question: str
    variables: Mapping[str, str]
    count: int
    last_asked: float


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


def calls_between(
    engine: Engine,
    tenant: str,
    prompt: str,
    since: float,
    until: float,
    origins: Sequence[str] = _LIVE,
    limit: int = 10_000,
) -> list[CallRow]:
    """Oldest first; of more than ``limit``, the newest ones."""
    chosen = [CallRow.tenant == tenant, CallRow.prompt == prompt, *_within(since, until)]
    query = select(CallRow).where(*chosen, CallRow.origin.in_([str(origin) for origin in origins]))
    with reading(engine) as session:
        rows = session.scalars(query.order_by(CallRow.started_at.desc(), CallRow.id.desc()).limit(limit)).all()
    return list(reversed(rows))


def release_calls(
    engine: Engine, release_id: str, *, sources: Sequence[str] = _SOURCES, limit: int = 200_000
) -> list[ReleaseCall]:
    """All live calls that a release routed, oldest first. ``sources``: whose scores count, the first one wins."""
    columns = [getattr(CallRow, name) for name in ReleaseCall.__struct_fields__ if name not in ("scores", "scored_at")]
    mine = and_(CallRow.release_id == release_id, CallRow.origin.in_(_LIVE))
    query = select(*columns).where(mine).order_by(CallRow.started_at, CallRow.id).limit(limit)
    scores = (
        select(ScoreRow.call_id, ScoreRow.metric, ScoreRow.source, ScoreRow.value, ScoreRow.scored_at)
        .join(CallRow, and_(CallRow.id == ScoreRow.call_id, CallRow.tenant == ScoreRow.tenant))
        .where(mine, ScoreRow.source.in_(sources))
    )
    values: dict[str, dict[str, float]] = defaultdict(dict)
    times: dict[str, dict[str, float]] = defaultdict(dict)
    with reading(engine) as session:
        rows = session.execute(query).mappings().all()
        for score in sorted(session.execute(scores).all(), key=lambda found: sources.index(found.source)):
            if score.metric not in values[score.call_id]:
                values[score.call_id][score.metric] = score.value
                times[score.call_id][score.metric] = score.scored_at
    return [ReleaseCall(**row, scores=values.get(row["id"], {}), scored_at=times.get(row["id"], {})) for row in rows]


def unscored_calls(
    engine: Engine,
    since: float,
    limit: int,
    *,
    tenant: str | None = None,
    prompt: str | None = None,
    sources: Sequence[str] = ("assertion", "judge"),
) -> list[CallRow]:
    """Live, answered calls of managed prompts with kept content that none of ``sources`` has scored.

    Those of a release's evidence sample come first, then the newest.
    """
    scored = exists().where(
        ScoreRow.call_id == CallRow.id, ScoreRow.tenant == CallRow.tenant, ScoreRow.source.in_(sources)
    )
    query = select(CallRow).where(
        CallRow.started_at >= since,
        CallRow.origin.in_(_LIVE),
        CallRow.status == "ok",
        CallRow.prompt != "",
        CallRow.answer.is_not(None),
        ~scored,
    )
    if tenant is not None:
        query = query.where(CallRow.tenant == tenant)
    if prompt is not None:
        query = query.where(CallRow.prompt == prompt)
    with reading(engine) as session:
        ordered = query.order_by(CallRow.evidence.desc(), CallRow.started_at.desc(), CallRow.id.desc())
        return list(session.scalars(ordered.limit(limit)))


def spend(
    engine: Engine,
    since: float,
    until: float,
    by: Sequence[str] = ("prompt", "version", "provider"),
    *,
    tenant: str | None = None,
) -> list[Spend]:
    """Of all origins, for a judge costs money too; dearest first. Raises ``ValueError`` for an unknown dimension."""
    unknown = set(by) - set(_DIMENSIONS)
    if unknown:
        raise ValueError(f"unknown dimensions {sorted(unknown)}: choose of {', '.join(_DIMENSIONS)}")
    groups = [getattr(CallRow, name) for name in by]
    served = CallRow.layer.in_([Layer.EXACT.value, Layer.COALESCED.value])
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
    query = select(*groups, *sums).where(*_within(since, until)).group_by(*groups)
    if tenant is not None:
        query = query.where(CallRow.tenant == tenant)
    with reading(engine) as session:
        rows = [dict(row) for row in session.execute(query).mappings()]
    found = [Spend(key={name: row.pop(name) for name in by}, **row) for row in rows if row["calls"]]
    return sorted(found, key=lambda group: (-group.cost_usd, -group.calls, tuple(group.key.values())))


def frequent_questions(engine: Engine, tenant: str, prompt: str, since: float, top: int) -> list[FrequentQuestion]:
    """What live users asked most since then, as far as variables ask it again; the latest first among equals."""
    asked = cast(CallRow.variables, Text)
    count, last = func.count().label("count"), func.max(CallRow.started_at).label("last_asked")
    query = (
        select(CallRow.question, asked.label("variables"), count, last)
        .where(
            CallRow.tenant == tenant,
            CallRow.prompt == prompt,
            CallRow.started_at >= since,
            CallRow.origin.in_(_LIVE),
            CallRow.status == "ok",
            CallRow.question.is_not(None),
            CallRow.variables.is_not(None),
        )
        .group_by(CallRow.question, asked)
        .order_by(count.desc(), last.desc(), CallRow.question)
        .limit(top)
    )
    with reading(engine) as session:
        rows = session.execute(query).all()
    return [
        FrequentQuestion(question=text, variables=json.loads(variables), count=number, last_asked=at)
        for text, variables, number, at in rows
    ]


def version_metrics(engine: Engine, tenant: str, prompt: str, since: float = 0.0) -> list[VersionMetrics]:
    """One for each version that live calls met since then, in the order of first use."""
    mine = and_(
        CallRow.tenant == tenant,
        CallRow.prompt == prompt,
        CallRow.origin.in_(_LIVE),
        CallRow.started_at >= since,
        CallRow.version != "",
    )
    totals = (
        select(
            CallRow.version,
            func.count().label("calls"),
            func.count(func.distinct(func.nullif(CallRow.user, ""))).label("users"),
            _count(CallRow.status == "failed").label("failures"),
            _count(CallRow.layer == Layer.EXACT.value).label("cached"),
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
    """US dollars spent on a UTC day, by all origins; by the whole tenant when ``prompt`` is None."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    query = select(_money(CallRow.cost_usd)).where(
        CallRow.tenant == tenant, *_within(start.timestamp(), (start + timedelta(days=1)).timestamp())
    )
    if prompt is not None:
        query = query.where(CallRow.prompt == prompt)
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
    return {version: latency for version, latency in session.execute(chosen)}


def _within(since: float, until: float) -> Iterable[ColumnElement[bool]]:
    return (CallRow.started_at >= since, CallRow.started_at < until)


def _count(condition: Any) -> ColumnElement[int]:
    return _total(case((condition, 1), else_=0))


def _total(value: Any) -> ColumnElement[int]:
    return type_coerce(func.coalesce(func.sum(value), 0), Integer)


def _money(column: Any) -> ColumnElement[Decimal]:
    return type_coerce(func.coalesce(func.sum(column), 0), Money)
