"""Live calls beside what a release's candidate answered to them, as the ledger has both."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct
from sqlalchemy import Engine, and_, select
from sqlalchemy.orm import aliased

from gateway.storage.engine import reading
from gateway.storage.models import CallRow, ScoreRow
from gateway.types import Origin

MIRROR = Origin.MIRROR.value
_SIDES = ("version", "status", "error", "fell_back", "cost_usd", "answer")


class MirroredPair(Struct, frozen=True, kw_only=True):
    """One question to both. ``id`` is the mirrored call's, ``live`` the user's; ``live_*`` is what the user's had.

    ``model_ms`` is the time of the providers' answers alone, without what a cache of passages or a queue did to it;
    None where there was none. ``scores`` of the mirrored call: one value a metric, ``scored_at`` says when.
    """

    id: str
    live: str
    user: str
    started_at: float
    version: str
    status: str
    error: str
    fell_back: bool
    cost_usd: Decimal | None
    answer: str | None
    model_ms: float | None
    live_version: str
    live_status: str
    live_error: str
    live_fell_back: bool
    live_cost_usd: Decimal | None
    live_answer: str | None
    live_model_ms: float | None
    live_streamed: bool
    scores: Mapping[str, float]
    scored_at: Mapping[str, float]


def mirrored_pairs(engine: Engine, release_id: str, *, limit: int = 20_000) -> list[MirroredPair]:
    """All pairs of a release whose both rows are there, in the order in which users asked.

    Raises StorageUnavailable.
    """
    mirror, live = aliased(CallRow), aliased(CallRow)
    mine = and_(mirror.release_id == release_id, mirror.origin == MIRROR)
    same = and_(live.id == mirror.mirrors, live.tenant == mirror.tenant, live.origin == Origin.LIVE.value)
    columns = [
        mirror.id,
        live.id.label("live"),
        live.user,
        live.started_at,
        mirror.attempts,
        live.attempts.label("live_attempts"),
        live.streamed.label("live_streamed"),
        *(getattr(mirror, name) for name in _SIDES),
        *(getattr(live, name).label(f"live_{name}") for name in _SIDES),
    ]
    query = select(*columns).join(live, same).where(mine).order_by(live.started_at, mirror.id).limit(limit)
    scored = (
        select(ScoreRow.call_id, ScoreRow.metric, ScoreRow.value, ScoreRow.scored_at)
        .join(mirror, and_(mirror.id == ScoreRow.call_id, mirror.tenant == ScoreRow.tenant))
        .where(mine, ScoreRow.source == "judge")
    )
    values: dict[str, dict[str, float]] = defaultdict(dict)
    times: dict[str, dict[str, float]] = defaultdict(dict)
    with reading(engine) as session:
        rows = [dict(row) for row in session.execute(query).mappings()]
        for score in session.execute(scored):
            values[score.call_id][score.metric] = score.value
            times[score.call_id][score.metric] = score.scored_at
    return [
        MirroredPair(
            model_ms=_answering_ms(row.pop("attempts")),
            live_model_ms=_answering_ms(row.pop("live_attempts")),
            **row,
            scores=values.get(row["id"], {}),
            scored_at=times.get(row["id"], {}),
        )
        for row in rows
    ]


def _answering_ms(attempts: Sequence[Mapping[str, Any]]) -> float | None:
    """Of the tries that answered: what an outage cost a live call says nothing about its prompt."""
    answered = [float(one["latency_ms"]) for one in attempts if not one["error"]]
    return sum(answered) if answered else None
