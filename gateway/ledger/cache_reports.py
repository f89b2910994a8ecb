"""What the cache did, from the ledger in aggregate: each answer is bounded in rows however many calls there were.

Times are seconds since the epoch, intervals are [since, until), latencies are milliseconds. Only live chat calls count.
Every function raises StorageUnavailable when SQL does not answer.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct
from sqlalchemy import BigInteger, ColumnElement, Engine, Integer, Text, and_, case, cast, func, select, type_coerce

from gateway.ledger.records import implied_layers
from gateway.ledger.reports import CHAT, LIVE, within
from gateway.storage.engine import reading
from gateway.storage.models import CallRow, Money

BINS_PER_DOUBLING = 3
LATENCY_EDGES: tuple[float, ...] = tuple(0.1 * 2 ** (step / BINS_PER_DOUBLING) for step in range(60))
"""Upper edges, from a tenth of a millisecond to a good minute: a quantile read from them is off by 12 % at most."""


class LayerCount(Struct, frozen=True, kw_only=True):
    """Answers of one layer in one bucket of time. Money is US dollars; ``unpriced`` answers have an unknown price."""

    bucket: int
    layer: str
    calls: int
    cost_usd: Decimal
    saved_usd: Decimal
    unpriced: int


class Repetition(Struct, frozen=True, kw_only=True):
    """How alike the calls of a prompt are; ``questions`` are distinct inputs of those calls whose text was kept.

    ``head`` is the share of the calls that the ``HEAD`` most frequent questions made. ``observed`` seconds lie between
    the first and the last asking of questions asked more than once; meanwhile their documents changed ``changes``
    times, as far as can be told from how many different sets of them grounded answers.
    """

    calls: int
    questions: int
    head: float
    observed: float
    changes: int


class Volume(Struct, frozen=True, kw_only=True):
    """All live calls of a prompt. Means are per answer that a provider made; None without a known price."""

    prompt: str
    calls: int
    failed: int
    with_user: int
    streamed: int
    first_at: float
    last_at: float
    cost_per_call: float | None
    input_tokens: float
    output_tokens: float
    provider_cached_tokens: float


class LayerLooks(Struct, frozen=True, kw_only=True):
    """What a layer said when it was asked; ``reasons`` why it did not help, the most frequent first."""

    layer: str
    asked: int
    hits: int
    reasons: Mapping[str, int]


NEWEST = 5_000
"""Calls whose looks into each layer are counted."""
_HIT = "hit"
_FUNNEL = ("local", "exact", "semantic", "embedding", "context")
HEAD = 50
MOST_QUESTIONS = 20_000
"""Distinct questions, the most frequent first, that are looked at one by one."""


def layer_history(
    engine: Engine, since: float, until: float, buckets: int, *, tenant: str, prompt: str | None = None
) -> list[LayerCount]:
    """Answered calls by layer and time; bucket ``b`` begins at ``since + b * (until - since) / buckets``."""
    begin, width = int(since), max(1, int((until - since) / buckets))
    bucket = type_coerce((cast(CallRow.started_at, BigInteger) - begin) // width, Integer).label("bucket")
    query = (
        select(
            bucket,
            CallRow.layer,
            func.count().label("calls"),
            _money(CallRow.cost_usd).label("cost_usd"),
            _money(CallRow.saved_usd).label("saved_usd"),
            _count(CallRow.cost_usd.is_(None) | CallRow.saved_usd.is_(None)).label("unpriced"),
        )
        .where(*_live(since, until, tenant, prompt), CallRow.status == "ok")
        .group_by(bucket, CallRow.layer)
        .order_by(bucket, CallRow.layer)
    )
    with reading(engine) as session:
        rows = [dict(row) for row in session.execute(query).mappings()]
    for row in rows:  # a database may round where another cuts off
        row["bucket"] = min(max(row["bucket"], 0), buckets - 1)
    return [LayerCount(**row) for row in rows]


def layer_latencies(
    engine: Engine, since: float, until: float, *, tenant: str, prompt: str | None = None
) -> dict[str, list[int]]:
    """By layer, answers per bin of ``LATENCY_EDGES`` and one more for what is above."""
    bins = case(
        *((CallRow.latency_ms <= edge, place) for place, edge in enumerate(LATENCY_EDGES)), else_=len(LATENCY_EDGES)
    )
    query = (
        select(CallRow.layer, bins.label("bin"), func.count())
        .where(*_live(since, until, tenant, prompt), CallRow.status == "ok")
        .group_by(CallRow.layer, "bin")
    )
    found: dict[str, list[int]] = {}
    with reading(engine) as session:
        for layer, place, number in session.execute(query):
            found.setdefault(layer, [0] * (len(LATENCY_EDGES) + 1))[place] = number
    return found


def quantile(bins: Sequence[int], share: float) -> float | None:
    """Nearest rank, read as the geometric middle of its bin; None without an answer."""
    rank = max(1, -(-int(sum(bins) * share * 1_000_000) // 1_000_000))
    seen = 0
    for place, number in enumerate(bins):
        seen += number
        if number and seen >= rank:
            edge = LATENCY_EDGES[min(place, len(LATENCY_EDGES) - 1)]
            return edge / 2.0 ** (0.5 / BINS_PER_DOUBLING) if place < len(LATENCY_EDGES) else edge
    return None


def layer_looks(
    engine: Engine, since: float, until: float, *, tenant: str, prompt: str | None = None
) -> list[LayerLooks]:
    """Of the ``NEWEST`` answered calls, in the order in which the layers are asked; those that only help included."""
    query = (
        select(CallRow.layer, CallRow.cache_reason, CallRow.explanation)
        .where(*_live(since, until, tenant, prompt), CallRow.status == "ok")
        .order_by(CallRow.started_at.desc(), CallRow.id.desc())
        .limit(NEWEST)
    )
    with reading(engine) as session:
        rows = session.execute(query).tuples().all()
    said: dict[str, Counter[str]] = {}
    for answered, reason, explanation in rows:
        looks = explanation.get("layers") or implied_layers(answered, reason)
        for layer, outcome in looks.items():
            said.setdefault(layer, Counter())[_HIT if layer == answered else str(outcome)] += 1
    order = sorted(said, key=lambda layer: (_FUNNEL.index(layer) if layer in _FUNNEL else len(_FUNNEL), layer))
    return [
        LayerLooks(
            layer=layer,
            asked=said[layer].total(),
            hits=said[layer][_HIT],
            reasons=dict(one for one in said[layer].most_common() if one[0] != _HIT),
        )
        for layer in order
    ]


def volumes(engine: Engine, since: float, until: float, *, tenant: str, prompt: str | None = None) -> list[Volume]:
    """One for each prompt that live calls met, the busiest first."""
    made = and_(CallRow.status == "ok", CallRow.layer == "none", CallRow.cost_usd.is_not(None))
    paid = _count(made)
    query = (
        select(
            CallRow.prompt,
            func.count().label("calls"),
            _count(CallRow.status == "failed").label("failed"),
            _count(CallRow.user != "").label("with_user"),
            _count(CallRow.streamed).label("streamed"),
            func.min(CallRow.started_at).label("first_at"),
            func.max(CallRow.started_at).label("last_at"),
            paid.label("paid"),
            _money(case((made, CallRow.cost_usd), else_=0)).label("cost"),
            _total(case((made, CallRow.input_tokens), else_=0)).label("input"),
            _total(case((made, CallRow.output_tokens), else_=0)).label("output"),
            _total(case((made, CallRow.cached_input_tokens), else_=0)).label("cached"),
        )
        .where(*_live(since, until, tenant, prompt), CallRow.prompt != "")
        .group_by(CallRow.prompt)
        .order_by(func.count().desc(), CallRow.prompt)
    )
    with reading(engine) as session:
        rows = session.execute(query).mappings().all()
    return [
        Volume(
            prompt=row["prompt"],
            calls=row["calls"],
            failed=row["failed"],
            with_user=row["with_user"],
            streamed=row["streamed"],
            first_at=row["first_at"],
            last_at=row["last_at"],
            cost_per_call=float(row["cost"]) / row["paid"] if row["paid"] else None,
            input_tokens=row["input"] / max(1, row["paid"]),
            output_tokens=row["output"] / max(1, row["paid"]),
            provider_cached_tokens=row["cached"] / max(1, row["paid"]),
        )
        for row in rows
    ]


def repetition(engine: Engine, since: float, until: float, *, tenant: str, prompt: str) -> Repetition:
    """How often the same is asked, and how long an answer's documents stay as they are."""
    asked = cast(CallRow.variables, Text)
    mine = (*_live(since, until, tenant, prompt), CallRow.status == "ok", CallRow.variables.is_not(None))
    grouped = (
        select(
            func.count().label("calls"),
            (func.max(CallRow.started_at) - func.min(CallRow.started_at)).label("observed"),
            (func.count(func.distinct(cast(CallRow.documents, Text))) - 1).label("changes"),
        )
        # A new version may retrieve other documents for the same question: that is no change of theirs.
        .where(*mine)
        .group_by(asked, CallRow.question, CallRow.version)
        .order_by(func.count().desc())
        .limit(MOST_QUESTIONS)
        .subquery()
    )
    totals = select(
        func.count(),
        _total(grouped.c.calls),
        func.coalesce(func.sum(grouped.c.observed), 0.0),
        _total(grouped.c.changes),
    )
    head = select(grouped.c.calls).order_by(grouped.c.calls.desc()).limit(HEAD).subquery()
    with reading(engine) as session:
        questions, looked_at, observed, changes = session.execute(totals).one()
        calls = session.scalar(select(func.count()).select_from(CallRow).where(*mine)) or 0
        frequent = session.scalar(select(_total(head.c.calls))) or 0
    beyond = calls - int(looked_at)  # these are of questions rarer than all that were looked at
    return Repetition(
        calls=calls,
        questions=questions + beyond,
        head=int(frequent) / calls if calls else 0.0,
        observed=float(observed),
        changes=int(changes),  # PostgreSQL sums integers to decimals
    )


def _live(since: float, until: float, tenant: str, prompt: str | None) -> list[ColumnElement[bool]]:
    chosen = [CallRow.tenant == tenant, CallRow.origin.in_(LIVE), CHAT, *within(since, until)]
    return chosen if prompt is None else [*chosen, CallRow.prompt == prompt]


def _count(condition: Any) -> ColumnElement[int]:
    return _total(case((condition, 1), else_=0))


def _total(value: Any) -> ColumnElement[int]:
    return type_coerce(func.coalesce(func.sum(value), 0), Integer)


def _money(column: Any) -> ColumnElement[Decimal]:
    return type_coerce(func.coalesce(func.sum(column), 0), Money)
