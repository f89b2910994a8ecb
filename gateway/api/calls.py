"""``GET /v1/calls/{id}``: how a call went, and why."""

import asyncio
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from gateway.api.access import gateway_of, principal
from gateway.api.responses import JsonResponse
from gateway.errors import NotFound
from gateway.ledger.queries import CallStory, call_story
from gateway.ledger.records import implied_layers

router = APIRouter(prefix="/v1/calls", tags=["calls"])

SCOPE = "calls:read"


class AttemptMade(BaseModel):
    provider: str
    model: str
    latency_ms: float
    error: str = Field(description="Empty for the try that answered.")


class FellBack(BaseModel):
    """The experiment's arm that was drawn and failed, before the baseline answered."""

    version: str
    error: str
    attempts: list[AttemptMade]


class RouteTaken(BaseModel):
    """Empty strings and null where the call named no prompt."""

    prompt: str
    version: str
    arm: str = Field(
        description="stable, canary, or the version of an experiment's arm; empty for one that the caller named."
    )
    release: str
    experiment: str
    segment: str = Field(description="Of the caller, in a contextual experiment.")
    propensity: float | None = Field(description="Probability with which the experiment drew the arm.")
    fell_back_from: FellBack | None
    share_of_users: float | None = Field(description="Of the arm, in [0, 1], when the call was routed.")
    evidence: bool = Field(description="The user is in the evidence sample of a release: caches were bypassed.")


class CacheDecision(BaseModel):
    layer: str = Field(description="local, exact, semantic, coalesced, stale, or none: the provider was asked.")
    reason: str = Field(description="hit, revalidated, or why the cache did not answer.")
    reasons: dict[str, str] = Field(
        description="What each layer that was asked said (local, exact, semantic, embedding, context): hit, or why not."
    )
    kept: str | None = Field(description="kept, or why the answer was not kept; null when none was made.")
    similar: dict[str, Any] | None = Field(
        description="What the semantic layer saw: state, similarity and score of the nearest kept question, the guard "
        "that spoke against it, the threshold, whether its answer was served, and its key; no questions."
    )


class Money(BaseModel):
    cost_usd: float | None = Field(description="null: unknown, never 0.")
    saved_usd: float | None
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    price: dict[str, Any]


class ScoreGiven(BaseModel):
    metric: str
    source: str
    value: float
    reason: str


class CallView(BaseModel):
    """One call of the ledger."""

    id: str
    kind: str
    origin: str
    status: str
    error: str
    started_at: float = Field(description="Seconds since the Unix epoch.")
    latency_ms: float
    first_token_ms: float | None
    streamed: bool
    user: str
    key_id: str
    route: RouteTaken
    cache: CacheDecision
    provider: str
    model: str
    attempts: list[AttemptMade]
    fell_back: bool
    money: Money
    documents: list[str] = Field(description="doc:<collection>/<id>@<version>, as the model saw them.")
    stages_ms: dict[str, float]
    tools: list[str]
    scores: list[ScoreGiven]
    question: str | None = Field(description="null when the ledger keeps no content.")
    answer: str | None


@router.get("/{call_id}", response_model=CallView)
async def explain(
    request: Request,
    call_id: Annotated[
        str,
        Path(
            pattern=r"^call_[0-9a-z]{26}$",
            description="As in the answer.",
            examples=["call_01jd3v5k8m2q4r6t8w0y2a4c6e"],
        ),
    ],
) -> Response:
    """Route, cache decisions with reasons, attempts, cost, documents, time by stage. The ledger has a call about a
    second after its answer."""
    caller = await principal(request, SCOPE)
    story = await asyncio.to_thread(call_story, gateway_of(request).engine, caller.tenant, call_id)
    if story is None:
        raise NotFound(
            "the ledger has no such call", hint="It takes about a second to get there; the ledger-writer must run."
        )
    return JsonResponse(_view(story).model_dump(mode="python"))


def _view(story: CallStory) -> CallView:
    row = story.call
    explanation = dict(row.explanation)
    return CallView(
        **{
            name: getattr(row, name)
            for name in (
                "id",
                "kind",
                "origin",
                "status",
                "error",
                "started_at",
                "latency_ms",
                "first_token_ms",
                "streamed",
                "user",
                "key_id",
                "provider",
                "model",
                "attempts",
                "fell_back",
                "documents",
                "question",
                "answer",
            )
        },
        route=RouteTaken(
            prompt=row.prompt,
            version=row.version,
            arm=row.arm,
            release=row.release_id,
            share_of_users=row.weight / 10_000 if row.arm else None,
            evidence=row.evidence,
            experiment=row.experiment,
            segment=row.segment,
            propensity=row.propensity,
            fell_back_from=explanation.get("fell_back_from"),
        ),
        cache=CacheDecision(
            layer=row.layer,
            reason=row.cache_reason,
            reasons=explanation.get("layers", implied_layers(row.layer, row.cache_reason)),
            kept=explanation.get("kept"),
            similar=explanation.get("semantic"),
        ),
        money=Money(
            cost_usd=_dollars(row.cost_usd),
            saved_usd=_dollars(row.saved_usd),
            input_tokens=row.input_tokens,
            cached_input_tokens=row.cached_input_tokens,
            output_tokens=row.output_tokens,
            price=row.price,
        ),
        stages_ms=explanation.get("stages_ms", {}),
        tools=explanation.get("tools", []),
        scores=[
            ScoreGiven(metric=score.metric, source=score.source, value=score.value, reason=score.reason)
            for score in story.scores
        ],
    )


def _dollars(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
