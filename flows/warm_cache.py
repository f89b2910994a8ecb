"""Before a ramp and after a promotion: answer the most frequent real questions with the version that will serve."""

from prefect import flow
from pydantic import BaseModel, Field

from blocks.workspace import load_workspace
from gateway.clock import SystemClock
from tasks.artifacts import artifact_key, markdown, markdown_table
from tasks.warming import Warmed, background_of, questions_to_warm, version_to_warm, warm


class WarmRequest(BaseModel):
    """What to warm."""

    prompt: str = Field(description="Name of the prompt.")
    tenant: str = Field("", description="Empty: the workspace's tenant.")
    version: str = Field("", description="Empty: the one in production.")
    top: int | None = Field(None, ge=0, le=5000, description="How many questions; by default what the prompt says.")
    budget_usd: float = Field(1.0, gt=0, description="Warming stops when it has cost this much.")


@flow(name="warm_cache", flow_run_name="warm {request.prompt} {request.version}", persist_result=False)
def warm_cache(request: WarmRequest) -> Warmed:
    """The artifact shows cold against warm."""
    settings = load_workspace().settings
    version = version_to_warm(settings, request.tenant or settings.tenant, request.prompt, request.version)
    questions = questions_to_warm(settings, SystemClock(), version, request.top)
    warmed = warm(settings, version, questions, request.budget_usd, background_of(settings, version))
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
        f"# {title}\n\n{warmed.note}\n\n{markdown_table(facts)}\n{markdown_table(list(warmed.rows), limit=50)}",
        title,
    )
    return warmed
