"""Every five minutes: judge pairs of similar questions, and say where the semantic layer has earned to serve."""

from prefect import flow
from pydantic import BaseModel, Field

from blocks.workspace import load_workspace
from gateway.clock import SystemClock
from tasks.artifacts import table
from tasks.semantic_judging import Judged, forget_old, judge_scope, scopes_to_judge


class JudgeRequest(BaseModel):
    """How many, and for how much."""

    limit: int = Field(100, ge=1, le=5_000, description="Pairs a run, in all scopes together.")
    budget_usd: float = Field(0.05, gt=0, description="Judging stops when a run has cost this much.")


@flow(name="judge_semantic", persist_result=False)
def judge_semantic(request: JudgeRequest | None = None) -> list[Judged]:
    """Also without new pairs: a verdict that is not told again ends, and with it what is served by it."""
    request = request or JudgeRequest()
    settings, clock = load_workspace().settings, SystemClock()
    scopes = scopes_to_judge(settings)
    judged: list[Judged] = []
    left, money = request.limit, request.budget_usd
    for place, scope in enumerate(scopes):
        share = len(scopes) - place  # what one scope does not use is there for those after it
        one = judge_scope(settings, clock, scope, max(left // share, 1 if left else 0), money / share)
        left, money = max(0, left - one.judged), max(0.0, money - one.cost_usd)
        judged.append(one)
    forget_old(settings, clock)
    table("semantic", [_row(one) for one in judged], f"{sum(one.judged for one in judged)} pairs judged")
    return judged


def _row(one: Judged) -> dict[str, object]:
    standing = one.standing
    return {
        "prompt": one.scope.prompt,
        "version": one.scope.version,
        "compared by": one.scope.recipe,
        "state": "held" if one.held else standing.state.value,
        "threshold": standing.threshold,
        "proving pairs": standing.pairs,
        "wrong": standing.wrong,
        "at most wrong": standing.upper,
        "judged now": one.judged,
        "waiting": one.left,
        "cost (USD)": one.cost_usd,
    }
