"""Who asks a prompt, from the ledger: what a canary may expect before it starts."""

from sqlalchemy import Engine, and_, case, func, select

from gateway.errors import NotFound
from gateway.ledger.reports import CHAT, LIVE
from gateway.storage.engine import reading
from gateway.storage.models import CallRow, ScoreRow
from tasks.releases import store
from tasks.releases.evidence import BLAMED_ERRORS, QUALITY
from tasks.releases.forecast import DAY, Audience, Forecast, forecast
from tasks.specs.model import CanarySpec

ENOUGH_USERS = 30
"""With fewer scored users their spread is a guess, and the one that a plan has is no worse."""
SHORTEST = 3_600.0
"""Seconds: users of a few minutes say nothing about a day."""


def expected(engine: Engine, canary: CanarySpec, tenant: str, prompt: str, *, now: float) -> Forecast | None:
    """What to expect of a canary that starts now; None where nothing serves yet. Raises StorageUnavailable."""
    try:
        if not store.get_prompt(engine, tenant, prompt).production:
            return None
    except NotFound:
        return None
    return forecast(canary, audience(engine, tenant, prompt, now=now))


def audience(engine: Engine, tenant: str, prompt: str, *, now: float, seconds: float = 14 * DAY) -> Audience:
    """Different users a day, and means per user of the judged quality and of failures, over the last ``seconds``.

    Who comes back counts once, as in a canary. Raises StorageUnavailable.
    """
    mine = and_(
        CallRow.tenant == tenant,
        CallRow.prompt == prompt,
        CallRow.origin.in_(LIVE),
        CHAT,
        CallRow.user != "",
        CallRow.started_at >= now - seconds,
        CallRow.started_at <= now,
    )
    blamed = case((and_(CallRow.status == "failed", CallRow.error.in_(BLAMED_ERRORS)), 1.0), else_=0.0)
    users = select(func.avg(blamed).label("failed")).where(mine).group_by(CallRow.user).subquery()
    means = (
        select(func.avg(ScoreRow.value).label("mean"))
        .join(CallRow, and_(CallRow.id == ScoreRow.call_id, CallRow.tenant == ScoreRow.tenant))
        .where(mine, ScoreRow.metric == QUALITY)
        .group_by(CallRow.user)
        .subquery()
    )
    with reading(engine) as session:
        count, failures = session.execute(select(func.count(), func.avg(users.c.failed)).select_from(users)).one()
        first = session.scalar(select(func.min(CallRow.started_at)).where(mine))
        scored, mean, square = session.execute(
            select(func.count(), func.avg(means.c.mean), func.avg(means.c.mean * means.c.mean)).select_from(means)
        ).one()
    if not count or first is None:
        return Audience(users_a_day=0.0)
    span = max(SHORTEST, now - float(first))
    found = Audience(users_a_day=count * DAY / span, failures=float(failures or 0.0), since_hours=span / 3_600.0)
    if scored < ENOUGH_USERS:
        return found
    mean = min(1.0, max(0.0, float(mean)))
    variance = max(0.0, float(square) - mean * mean)
    # As wide as a mean allows: every user is all right or all wrong.
    right_or_wrong = variance >= 0.95 * mean * (1.0 - mean) > 0.0
    return Audience(
        users_a_day=found.users_a_day,
        quality_mean=mean,
        quality_sd=None if right_or_wrong else variance**0.5,
        failures=found.failures,
        since_hours=found.since_hours,
    )
