"""Before a ramp, after a promotion, rollback or invalidation, and into an emptied cache: the most frequent real
questions, answered by the version that will serve."""

from prefect import flow
from pydantic import BaseModel, Field

from blocks.workspace import load_workspace
from gateway.clock import SystemClock
from tasks.artifacts import artifact_key, image, markdown, markdown_table
from tasks.cache_plots import cold_and_warm
from tasks.warm_marks import Cause, can_be_warmed, mark_warm
from tasks.warming import WarmBudget, Warmed, background_of, questions_to_warm, version_to_warm, warm


class WarmRequest(BaseModel):
    """What to warm."""

    prompt: str = Field(description="Name of the prompt.")
    tenant: str = Field("", description="Empty: the workspace's tenant.")
    version: str = Field("", description="Empty: the one in production.")
    top: int | None = Field(None, ge=0, le=5000, description="How many questions; by default what the prompt says.")
    budget_usd: float = Field(1.0, gt=0, description="Warming stops when it has cost this much.")
    max_calls: int = Field(500, ge=1, le=5000, description="Or when it has made so many upstream calls.")
    cause: Cause = Field(Cause.ASKED, description="Why; shown on the page.")


@flow(name="warm_cache", flow_run_name="warm {request.prompt} {request.version}", persist_result=False)
def warm_cache(request: WarmRequest) -> Warmed:
    """The artifact shows cold against warm. What is warm already is only found so: running it twice costs nothing."""
    settings, clock = load_workspace().settings, SystemClock()
    version = version_to_warm(settings, request.tenant or settings.tenant, request.prompt, request.version)
    questions = questions_to_warm(settings, clock, version, request.top)
    budget = WarmBudget(request.budget_usd, request.max_calls)
    warmed = warm(settings, version, questions, budget, background_of(settings, version))
    if can_be_warmed(version) and warmed.done:
        mark_warm(settings, clock, version.tenant, version.name, version.version)
    _show(warmed, request.cause)
    return warmed


def _show(warmed: Warmed, cause: Cause) -> None:
    facts: list[dict[str, object]] = [
        {"": "questions", "value": warmed.questions},
        {"": "answered now", "value": warmed.answered},
        {"": "were warm already", "value": warmed.already_warm},
        {"": "failed", "value": warmed.failed},
        {"": "cost (USD)", "value": warmed.cost_usd},
        {"": "cold answer (mean ms)", "value": warmed.cold_ms},
        {"": "warm answer (mean ms)", "value": warmed.warm_ms},
    ]
    title = f"{warmed.prompt} {warmed.version}: {warmed.answered + warmed.already_warm} of {warmed.questions} warm"
    markdown(
        artifact_key("warm", warmed.prompt),
        f"# {title}\n\nBecause {cause.value}. {warmed.note}\n\n"
        f"{markdown_table(facts)}\n{markdown_table(list(warmed.rows), limit=50)}",
        title,
    )
    cold, warm_again = ([row[name] for row in warmed.rows if row[name]] for name in ("cold ms", "warm ms"))
    if warmed.cold_ms is not None and warm_again:
        image(artifact_key("warm", warmed.prompt, "latency"), cold_and_warm(cold, warm_again), title)
