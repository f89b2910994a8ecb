"""What the calls cost and what the cache saved, by prompt, version and provider; and the budgets of the prompts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from gateway.clock import Clock
from gateway.ledger.queries import Spend, budget_spend, spend
from gateway.limits import notices as limit_notices
from gateway.settings import Settings
from gateway.types import Layer
from tasks import registry
from tasks.once import announce_once, announced
from tasks.registration import engine_of
from tasks.releases import store
from tasks.step import step

BUDGET_EVENT = "promptyard.budget.reached"
DIMENSIONS = ("tenant", "prompt", "version", "provider", "model", "origin", "layer", "kind")
RAW = "(raw calls)"
EMBEDDINGS = "(embeddings)"
ALL = "(all)"


class Level(StrEnum):
    """How far a day's budget is used up."""

    FINE = "fine"
    NEAR = "near"
    SPENT = "spent"


@dataclass(frozen=True)
class CostLine:
    """One line of the table. Money is US dollars; ``unpriced`` calls have an unknown price, which is not 0.

    ``per_1k_paid``: what a thousand tokens cost that a provider was paid for; ``per_1k_served``: the same money over
    all tokens that were served, those from the cache too. None where nothing with a known price was.
    """

    prompt: str
    version: str
    provider: str
    calls: int
    cached: int
    failed: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    saved_usd: Decimal
    per_1k_paid: Decimal | None
    per_1k_served: Decimal | None


@dataclass(frozen=True)
class Budget:
    """A prompt's spend of a UTC day against its budget; ``unpriced`` calls make the spend a lower bound."""

    tenant: str
    prompt: str
    day: date
    spent_usd: Decimal
    daily_usd: Decimal | None
    alert_at: float
    unpriced: int = 0

    @property
    def level(self) -> Level:
        if self.daily_usd is None:
            return Level.FINE
        if self.spent_usd >= self.daily_usd:
            return Level.SPENT
        near = self.spent_usd >= self.daily_usd * Decimal(str(self.alert_at))
        return Level.NEAR if near else Level.FINE

    @property
    def share(self) -> float | None:
        """Of the budget; None without one."""
        return float(self.spent_usd / self.daily_usd) if self.daily_usd else None


@step("spend")
def spending(settings: Settings, since: float, until: float, tenant: str) -> list[Spend]:
    """Of all origins, in the finest groups. ``tenant`` empty: all of them."""
    return spend(engine_of(settings), since, until, DIMENSIONS, tenant=tenant or None)


@step("budgets")
def budgets(settings: Settings, clock: Clock, tenant: str) -> list[Budget]:
    """Of every prompt in production, today (UTC), by the spec of the version in production."""
    engine = engine_of(settings)
    now = clock.now()
    day = datetime.fromtimestamp(now, UTC).date()
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    unknown = {
        (one.key["tenant"], one.key["prompt"]): one.unpriced
        for one in spend(engine, midnight, now + 1, ("tenant", "prompt"), tenant=tenant or None)
    }
    found: list[Budget] = []
    for row in store.list_prompts(engine, tenant or None):
        if not row.production:
            continue
        policy = store.get_version(engine, row.tenant, row.name, row.production).spec.get("budget", {})
        daily = policy.get("daily_usd")
        found.append(
            Budget(
                tenant=row.tenant,
                prompt=row.name,
                day=day,
                spent_usd=budget_spend(engine, row.tenant, row.name, day),
                daily_usd=None if daily is None else Decimal(str(daily)),
                alert_at=float(policy.get("alert_at", 0.8)),
                unpriced=unknown.get((row.tenant, row.name), 0),
            )
        )
    return found


@step("announce budget")
def announce(settings: Settings, clock: Clock, budget: Budget) -> bool:
    """The event for automations; True the first time that this prompt is at this level on this day.

    The gateway tells of a budget that it enforces by itself, and at once: what it has told is not told again.
    """
    engine, day = engine_of(settings), budget.day.isoformat()
    level = limit_notices.REACHED if budget.level is Level.SPENT else limit_notices.NEAR
    told = limit_notices.occasion("prompt_budget", budget.tenant, budget.prompt, day, level)
    known = announced(engine, limit_notices.EVENT, told)
    new = announce_once(
        engine,
        clock,
        BUDGET_EVENT,
        f"promptyard.prompt.{budget.tenant}.{budget.prompt}",
        {
            "tenant": budget.tenant,
            "prompt": budget.prompt,
            "day": budget.day.isoformat(),
            "level": budget.level.value,
            "spent_usd": str(budget.spent_usd),
            "daily_usd": str(budget.daily_usd),
        },
        (budget.tenant, budget.prompt, day, budget.level.value),
    )
    return new and not known


def lines(groups: Iterable[Spend], by: Sequence[str] = ("prompt", "version", "provider")) -> list[CostLine]:
    """The table, dearest first. What ``by`` leaves out is summed up and shown as empty; ``by=()`` is the total."""
    gathered: dict[tuple[str, ...], list[Spend]] = {}
    for group in groups:
        gathered.setdefault(tuple(_shown(group, name) for name in by), []).append(group)
    found = [_line(dict(zip(by, key, strict=True)), members) for key, members in gathered.items()]
    return sorted(found, key=lambda line: (-line.cost_usd, -line.calls, line.prompt, line.version, line.provider))


def by_origin(groups: Iterable[Spend]) -> list[dict[str, Any]]:
    """Who spent it: users, the gate, the judge, warming, probes."""
    gathered: dict[str, list[Spend]] = {}
    for group in groups:
        gathered.setdefault(group.key["origin"], []).append(group)
    rows = [
        {
            "origin": origin,
            "calls": sum(one.calls for one in members),
            "unknown price": sum(one.unpriced for one in members),
            "cost (USD)": sum((one.cost_usd for one in members), Decimal(0)),
            "saved (USD)": sum((one.saved_usd for one in members), Decimal(0)),
        }
        for origin, members in gathered.items()
    ]
    return sorted(rows, key=lambda row: -row["cost (USD)"])


def as_row(line: CostLine) -> dict[str, Any]:
    """A line under the headings that people read."""
    return {
        "prompt": line.prompt,
        "version": line.version,
        "provider": line.provider,
        "calls": line.calls,
        "from cache": line.cached,
        "failed": line.failed,
        "unknown price": line.unpriced,
        "input tokens": line.input_tokens,
        "output tokens": line.output_tokens,
        "cost (USD)": line.cost_usd,
        "saved by cache (USD)": line.saved_usd,
        "USD per 1k tokens paid": line.per_1k_paid,
        "USD per 1k tokens served": line.per_1k_served,
    }


def keep(settings: Settings, name: str, total: CostLine, table: Sequence[CostLine]) -> str:
    """The table and its totals as an MLflow run; its id. Raises RegistryUnavailable."""
    metrics: dict[str, float] = {
        "calls": float(total.calls),
        "cached_calls": float(total.cached),
        "failed_calls": float(total.failed),
        "unpriced_calls": float(total.unpriced),
        "cost_usd": float(total.cost_usd),
        "saved_usd": float(total.saved_usd),
    }
    if total.per_1k_paid is not None:
        metrics["usd_per_1k_tokens_paid"] = float(total.per_1k_paid)
    if total.per_1k_served is not None:
        metrics["usd_per_1k_tokens_served"] = float(total.per_1k_served)
    plain = [
        {key: float(value) if isinstance(value, Decimal) else value for key, value in as_row(line).items()}
        for line in table
    ]
    record = registry.RunRecord(
        "promptyard/costs", name, metrics=metrics, tags={"promptyard.kind": "costs"}, table=plain
    )
    return registry.log_run(settings.mlflow_tracking_uri, record)


def _shown(group: Spend, name: str) -> str:
    """Calls of no prompt are raw ones or embeddings, which have prices of their own."""
    if name == "prompt" and not group.key["prompt"]:
        return EMBEDDINGS if group.key.get("kind") == "embedding" else RAW
    return group.key[name]


def _line(key: Mapping[str, str], members: Sequence[Spend]) -> CostLine:
    # A group with a call of unknown price is left out of the prices per token: its tokens have no known money.
    priced = [one for one in members if not one.unpriced]
    paid = [one for one in priced if one.key["layer"] == Layer.NONE]
    cost = sum((one.cost_usd for one in members), Decimal(0))
    return CostLine(
        prompt=key.get("prompt", ALL),
        version=key.get("version", ""),
        provider=key.get("provider", ""),
        calls=sum(one.calls for one in members),
        cached=sum(one.cached for one in members),
        failed=sum(one.failed for one in members),
        unpriced=sum(one.unpriced for one in members),
        input_tokens=sum(one.input_tokens for one in members),
        output_tokens=sum(one.output_tokens for one in members),
        cost_usd=cost,
        saved_usd=sum((one.saved_usd for one in members), Decimal(0)),
        per_1k_paid=_per_1k(paid, paid),
        per_1k_served=_per_1k(paid, priced),
    )


def _per_1k(money: Sequence[Spend], tokens: Sequence[Spend]) -> Decimal | None:
    number = sum(one.input_tokens + one.output_tokens for one in tokens)
    return sum((one.cost_usd for one in money), Decimal(0)) * 1000 / number if number and money else None
