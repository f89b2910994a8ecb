"""Hourly: what each prompt, version and provider cost, what the cache saved, and whether a budget runs out."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import BaseModel, Field

from blocks.workspace import load_workspace
from gateway.clock import Clock, SystemClock
from gateway.settings import Settings
from tasks.alerts import alert
from tasks.artifacts import markdown, markdown_table, table
from tasks.costs import Budget, CostLine, Level, announce, as_row, budgets, by_origin, keep, lines, spending
from tasks.registry import RegistryUnavailable


class CostsRequest(BaseModel):
    """Which calls to add up."""

    tenant: str = Field("", description="Empty: all tenants.")
    hours: float = Field(24.0, gt=0, description="Length of the table's window, which ends now; budgets go by UTC day.")


@dataclass(frozen=True)
class Costs:
    """The table, its total (None without a call), today's budgets and which of them were alerted just now."""

    table: tuple[CostLine, ...]
    total: CostLine | None
    budgets: tuple[Budget, ...]
    alerted: tuple[str, ...] = ()
    mlflow_run: str = ""


@flow(name="monitor_costs", persist_result=False)
def monitor_costs(request: CostsRequest | None = None) -> Costs:
    """Reads the ledger and changes nothing. At most one alert a prompt, day and level."""
    request = request or CostsRequest()
    settings, clock = load_workspace().settings, SystemClock()
    now = clock.now()
    groups = spending(settings, now - 3600 * request.hours, now + 1, request.tenant)
    found, total = lines(groups), next(iter(lines(groups, by=())), None)
    today = budgets(settings, clock, request.tenant)
    alerted = [_alert(settings, clock, one) for one in today if one.level is not Level.FINE]
    title = f"{request.hours:g} h: {_usd(total.cost_usd)} spent, {_usd(total.saved_usd)} saved" if total else "no calls"
    table(
        "costs", [as_row(line) for line in (*found, *([total] if total else []))], f"{title}; the last line is the sum"
    )
    text = f"# {title}\n\n## Who spent it\n\n{markdown_table(by_origin(groups))}\n## Budgets of today (UTC)\n\n"
    markdown("costs-budgets", text + markdown_table([_budget_row(one) for one in today]), title)
    return Costs(tuple(found), total, tuple(today), tuple(filter(None, alerted)), _keep(settings, now, total, found))


def _alert(settings: Settings, clock: Clock, budget: Budget) -> str:
    """The prompt's name if people were told just now, empty if they knew."""
    if not announce(settings, clock, budget):
        return ""
    used = f"{_usd(budget.spent_usd)} of {_usd(budget.daily_usd or Decimal(0))} ({100 * (budget.share or 0):.0f} %)"
    more = f", and {budget.unpriced} calls of unknown price" if budget.unpriced else ""
    text = f"the budget of {budget.prompt} for {budget.day} is {budget.level.value}: {used}{more}"
    alert(settings, f"budget_{budget.level.value}", text, prompt=budget.prompt, tenant=budget.tenant)
    return budget.prompt


def _keep(settings: Settings, now: float, total: CostLine | None, found: list[CostLine]) -> str:
    if total is None:
        return ""
    try:
        return keep(settings, f"costs {datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M}", total, found)
    except RegistryUnavailable as error:
        get_run_logger().warning("the figures are only on this page: %s", error.message)
        return ""


def _budget_row(budget: Budget) -> dict[str, object]:
    return {
        "tenant": budget.tenant,
        "prompt": budget.prompt,
        "spent (USD)": budget.spent_usd,
        "budget (USD)": budget.daily_usd,
        "used": None if budget.share is None else f"{100 * budget.share:.1f} %",
        "alert at": f"{100 * budget.alert_at:.0f} %",
        "level": budget.level.value if budget.daily_usd is not None else "no budget",
        "unknown price": budget.unpriced,
    }


def _usd(amount: Decimal) -> str:
    return f"${amount:.4f}" if amount < 1 else f"${amount:.2f}"
