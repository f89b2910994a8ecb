"""What the control plane reads from the ledger. Times are seconds since the epoch, intervals are [since, until).

Every function raises StorageUnavailable when SQL does not answer. Scores join calls on id *and* tenant.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

from msgspec import Struct
from sqlalchemy import ColumnElement, Engine, Text, and_, cast, exists, func, select

from gateway.ledger.records import NOT_CACHED
from gateway.ledger.reports import CHAT, LIVE, Spend, VersionMetrics, budget_spend, spend, version_metrics, within
from gateway.storage.engine import reading
from gateway.storage.models import CallRow, ScoreRow

__all__ = [
    "MOST_ROUTED",
    "ExperimentCall",
    "FrequentQuestion",
    "ReleaseCall",
    "Spend",
    "VersionMetrics",
    "budget_spend",
    "calls_between",
    "experiment_calls",
    "frequent_questions",
    "release_calls",
    "spend",
    "unscored_calls",
    "version_metrics",
]

_SOURCES = ("assertion", "judge", "feedback")

MOST_ROUTED = 200_000
"""Calls of one release or experiment that are looked at: its first ones."""


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


class ExperimentCall(ReleaseCall, frozen=True, kw_only=True):
    """The same of a call that an experiment routed. ``propensity``: None where nobody drew its arm.

    ``fell_back_from``: the version of the arm that was drawn and failed with ``fell_back_error``; ``version`` answered
    in its place.
    """

    segment: str
    propensity: float | None
    fell_back_from: str
    fell_back_error: str


Routed = TypeVar("Routed", bound=ReleaseCall)

_WITHIN_JSON = {
    "fell_back_error": func.coalesce(CallRow.explanation[("fell_back_from", "error")].as_string(), ""),
}


class FrequentQuestion(Struct, frozen=True, kw_only=True):
    """``variables`` ask it again."""

    question: str
    variables: Mapping[str, str]
    count: int
    last_asked: float


def calls_between(
    engine: Engine,
    tenant: str,
    prompt: str,
    since: float,
    until: float,
    origins: Sequence[str] = LIVE,
    limit: int = 10_000,
) -> list[CallRow]:
    """Oldest first; of more than ``limit``, the newest ones."""
    chosen = [CallRow.tenant == tenant, CallRow.prompt == prompt, CHAT, *within(since, until)]
    query = select(CallRow).where(*chosen, CallRow.origin.in_([str(origin) for origin in origins]))
    with reading(engine) as session:
        rows = session.scalars(query.order_by(CallRow.started_at.desc(), CallRow.id.desc()).limit(limit)).all()
    return list(reversed(rows))


def release_calls(
    engine: Engine, release_id: str, *, sources: Sequence[str] = _SOURCES, limit: int = MOST_ROUTED
) -> list[ReleaseCall]:
    """All live calls that a release routed, oldest first. ``sources``: whose scores count, the first one wins."""
    return _scored_calls(engine, ReleaseCall, CallRow.release_id == release_id, sources, limit)


def experiment_calls(
    engine: Engine, experiment_id: str, *, sources: Sequence[str] = _SOURCES, limit: int = MOST_ROUTED
) -> list[ExperimentCall]:
    """All live calls that an experiment routed, as ``release_calls`` of a release."""
    return _scored_calls(engine, ExperimentCall, CallRow.experiment == experiment_id, sources, limit)


def _scored_calls(
    engine: Engine, kind: type[Routed], routed: ColumnElement[bool], sources: Sequence[str], limit: int
) -> list[Routed]:
    names = [name for name in kind.__struct_fields__ if name not in ("scores", "scored_at")]
    columns = [_WITHIN_JSON[name].label(name) if name in _WITHIN_JSON else getattr(CallRow, name) for name in names]
    mine = and_(routed, CallRow.origin.in_(LIVE), CHAT)
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
    return [kind(**row, scores=values.get(row["id"], {}), scored_at=times.get(row["id"], {})) for row in rows]


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
        CallRow.origin.in_(LIVE),
        CHAT,
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


def frequent_questions(engine: Engine, tenant: str, prompt: str, since: float, top: int) -> list[FrequentQuestion]:
    """What live users asked most since then, as far as variables ask it again; the latest first among equals.

    Nothing of what was to be in no cache: this is what caches are warmed with.
    """
    asked = cast(CallRow.variables, Text)
    count, last = func.count().label("count"), func.max(CallRow.started_at).label("last_asked")
    query = (
        select(CallRow.question, asked.label("variables"), count, last)
        .where(
            CallRow.tenant == tenant,
            CallRow.prompt == prompt,
            CallRow.started_at >= since,
            CallRow.origin.in_(LIVE),
            CHAT,
            CallRow.status == "ok",
            CallRow.cache_reason != NOT_CACHED,
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


class CallStory(Struct, frozen=True):
    """A call with what was thought of it."""

    call: CallRow
    scores: tuple[ScoreRow, ...]


def call_story(engine: Engine, tenant: str, call_id: str) -> CallStory | None:
    """None for a call that is not there, or another tenant's. Raises StorageUnavailable."""
    with reading(engine) as session:
        call = session.get(CallRow, call_id)
        if call is None or call.tenant != tenant:
            return None
        mine = (ScoreRow.call_id == call_id, ScoreRow.tenant == tenant)
        scores = session.scalars(select(ScoreRow).where(*mine).order_by(ScoreRow.metric, ScoreRow.source)).all()
    return CallStory(call, tuple(scores))
