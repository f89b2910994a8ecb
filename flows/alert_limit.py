"""Woken by ``promptyard.limit.reached``: tell people that a limit or budget is near its end, or refuses calls."""

from prefect import flow
from pydantic import BaseModel, ConfigDict

from blocks.workspace import load_workspace
from tasks.alerts import alert
from tasks.artifacts import markdown

OWNERS = {
    "key_requests": "the requests of key {name}",
    "key_tokens": "the tokens of key {name}",
    "key_budget": "the daily budget of key {name}",
    "prompt_budget": "the daily budget of prompt {name}",
    "mirror_budget": "the daily budget for mirrored calls of prompt {name}",
    "model_requests": "the requests to {name}",
    "model_tokens": "the tokens of {name}",
}
LEVELS = {"near": "near the limit", "reached": "at the limit, and calls are refused or wait"}


class LimitNotice(BaseModel):
    """The event's payload. The gateway sends one for each limit, level and day (rates: ten minutes)."""

    model_config = ConfigDict(extra="ignore")

    kind: str = ""
    tenant: str = ""
    name: str = ""
    level: str = ""
    used: str = ""
    limit: str = ""
    unit: str = ""
    period: str = ""


@flow(name="alert_limit", persist_result=False)
def alert_limit(notice: LimitNotice | None = None) -> bool:
    """One alert, as ``promptyard.alert.limit_near`` or ``promptyard.alert.limit_reached``; True once people have it.

    Without a notice there is nothing to tell.
    """
    if notice is None:
        return False
    text = sentence(notice)
    markdown("limits", text, text)
    facts = notice.model_dump(exclude={"kind"})
    return alert(load_workspace().settings, f"limit_{notice.level or 'reached'}", text, what=notice.kind, **facts)


def sentence(notice: LimitNotice) -> str:
    """What people read; an event of a newer gateway is told as well as it is understood."""
    what = OWNERS.get(notice.kind, "a limit of {name}").format(name=notice.name)
    whose = f" (tenant {notice.tenant})" if notice.tenant else ""
    level = LEVELS.get(notice.level, notice.level)
    return f"{what}{whose}: {level} ({notice.used} of {notice.limit} {notice.unit})"
