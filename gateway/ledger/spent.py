"""What budgets ask of the ledger."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import Engine, func, select, type_coerce

from gateway.storage.engine import reading
from gateway.storage.models import CallRow, Money
from gateway.types import Origin


def spent_on(
    engine: Engine,
    tenant: str,
    day: date,
    *,
    prompt: str | None = None,
    key_id: str | None = None,
    mirrored: bool = False,
) -> Decimal:
    """US dollars of a UTC day by all origins and kinds of calls; None is any prompt, any key.

    Of a prompt, only its mirrored calls or all but those: they have a budget of their own.

    Calls of unknown price are left out, and so are those whose rows are still on their way by the spool: the sum is
    never more than what was spent. Raises StorageUnavailable.
    """
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    query = select(type_coerce(func.coalesce(func.sum(CallRow.cost_usd), 0), Money)).where(
        CallRow.tenant == tenant,
        CallRow.started_at >= start.timestamp(),
        CallRow.started_at < (start + timedelta(days=1)).timestamp(),
    )
    if prompt is not None:
        mirror = Origin.MIRROR.value
        query = query.where(CallRow.prompt == prompt)
        query = query.where(CallRow.origin == mirror if mirrored else CallRow.origin != mirror)
    if key_id is not None:
        query = query.where(CallRow.key_id == key_id)
    with reading(engine) as session:
        return session.scalar(query) or Decimal(0)
