"""Every minute: judge a sample of the new live answers, so that releases and drift have something to go by."""

from itertools import groupby

from prefect import flow
from pydantic import BaseModel, Field

from blocks.workspace import load_workspace
from gateway.clock import SystemClock
from gateway.storage.models import CallRow
from tasks.artifacts import table
from tasks.scoring import Scored, sample, score_prompt


class ScoreRequest(BaseModel):
    """How far back and how many."""

    minutes: float = Field(60.0, gt=0, description="Calls older than this are left alone.")
    limit: int = Field(500, ge=1, le=10_000, description="Calls a run.")


@flow(name="score_calls", persist_result=False)
def score_calls(request: ScoreRequest | None = None) -> list[Scored]:
    """Both arms alike: the evidence sample first. Needs the ledger's content; without it there is nothing to score."""
    request = request or ScoreRequest()
    settings, clock = load_workspace().settings, SystemClock()
    found = sample(settings, clock.now() - 60 * request.minutes, request.limit)
    calls = sorted((call for call in found if call.version), key=_scope)
    scored = [
        one
        for (tenant, prompt), rows in groupby(calls, key=_scope)
        for one in score_prompt(settings, clock, tenant, prompt, list(rows))
    ]
    table(
        "scores",
        [
            {
                "prompt": one.prompt,
                "version": one.version,
                "calls": one.calls,
                "mean quality": one.mean_quality,
                "not judged": one.not_judged,
            }
            for one in scored
        ],
        f"{sum(one.calls for one in scored)} calls scored",
    )
    return scored


def _scope(call: CallRow) -> tuple[str, str]:
    return call.tenant, call.prompt
