"""What answers stayed within before a release was opened: the limits that slow and dear ones exceed."""

from typing import Any

import numpy as np
from sqlalchemy import Engine, select
from sqlalchemy.orm import InstrumentedAttribute

from gateway.ledger.reports import CHAT, LIVE
from gateway.storage.engine import reading
from gateway.storage.models import CallRow
from gateway.types import Layer
from tasks.releases import store
from tasks.releases.forecast import DAY
from tasks.specs.model import CanarySpec

SECONDS = 14 * DAY
ENOUGH_ANSWERS = 100
"""With fewer, a quantile of 0.95 rests on a handful of answers."""
_MOST = 20_000


def with_limits(engine: Engine, canary: CanarySpec, tenant: str, prompt: str, *, now: float) -> CanarySpec:
    """The policy with numbers for what is to be frozen; None where too few answers are known.

    Raises NotFound for an unknown prompt, StorageUnavailable.
    """
    slo = canary.slo
    if slo is None:
        return canary
    baseline = store.get_prompt(engine, tenant, prompt).production
    answered = (
        CallRow.tenant == tenant,
        CallRow.prompt == prompt,
        CallRow.version == baseline,
        CallRow.origin.in_(LIVE),
        CHAT,
        CallRow.status == "ok",
        CallRow.layer == Layer.NONE.value,
        CallRow.fell_back.is_(False),
        CallRow.started_at >= now - SECONDS,
    )

    def frozen(column: InstrumentedAttribute[Any]) -> float | None:
        query = select(column).where(*answered, column.is_not(None)).order_by(CallRow.started_at.desc()).limit(_MOST)
        with reading(engine) as session:
            values = [float(value) for value in session.scalars(query)]
        if len(values) < ENOUGH_ANSWERS:
            return None
        return max(1e-9, float(np.quantile(values, slo.quantile, method="higher")))

    latency = frozen(CallRow.latency_ms) if slo.latency_ms == "frozen" else slo.latency_ms
    cost = frozen(CallRow.cost_usd) if slo.cost_usd == "frozen" else slo.cost_usd
    return canary.model_copy(update={"slo": slo.model_copy(update={"latency_ms": latency, "cost_usd": cost})})
