"""What the ledger keeps of a call or a score: pure. Field for field the columns of ``CallRow`` and ``ScoreRow``."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct

from gateway.errors import PromptyardError, ProviderError
from gateway.trail import Trail
from gateway.types import Answer, Attempt, CacheMode, Call, Cost, Layer, Message

CALL = "call"
SCORE = "score"
PAIR = "pair"
"""A ``SemanticPair``, field for field what ``SemanticPairRow`` has of it."""
NOT_CACHED = CacheMode.BYPASS.value
"""``cache_reason`` of a call that kept away from the cache, as personal ones do."""
_NOTHING = Decimal(0)


class Tried(Struct, frozen=True):
    """An attempt, as JSON keeps it."""

    provider: str
    model: str
    latency_ms: float
    error: str


class CallRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of ``calls``; what has its default is not written. On the wire, decimals are strings."""

    id: str
    tenant: str
    started_at: float
    key_id: str = ""
    origin: str = "live"
    prompt: str = ""
    version: str = ""
    release_id: str = ""
    arm: str = ""
    weight: int = 0
    evidence: bool = False
    user: str = ""
    latency_ms: float = 0.0
    first_token_ms: float | None = None
    streamed: bool = False
    status: str = "ok"
    error: str = ""
    layer: str = "none"
    cache_reason: str = ""
    provider: str = ""
    model: str = ""
    fell_back: bool = False
    attempts: list[Tried] = []
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = _NOTHING
    saved_usd: Decimal | None = _NOTHING
    price: dict[str, Any] = {}
    documents: tuple[str, ...] = ()
    variables: dict[str, Any] | None = None
    question: str | None = None
    answer: str | None = None
    context: str | None = None
    kind: str = "chat"
    explanation: dict[str, Any] = {}
    experiment: str = ""
    segment: str = ""
    propensity: float | None = None
    fell_back_from: str = ""
    mirrors: str = ""


class ScoreRecord(Struct, frozen=True, kw_only=True):
    """A row of ``scores``."""

    call_id: str
    metric: str
    source: str
    tenant: str
    value: float
    reason: str
    scored_at: float
    judge: str = ""


def call_record(answer: Answer, content: bool, trail: Trail | None = None) -> CallRecord:
    """An answered call. ``content``: whether question, answer, variables and context are kept."""
    call, reply, usage = answer.call, answer.reply, answer.reply.usage
    return CallRecord(
        **_of_call(call, content),
        latency_ms=answer.latency_ms,
        first_token_ms=answer.first_token_ms,
        layer=answer.layer,
        cache_reason=answer.cache_reason,
        provider=reply.provider,
        model=reply.model,
        fell_back=reply.fell_back,
        attempts=_attempts(reply.attempts),
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=answer.paid_usd,
        saved_usd=answer.saved_usd,
        price=_price(answer.cost),
        documents=reply.documents,
        answer=reply.text if content and call.kind == "chat" else None,
        explanation=_explanation(trail, answer.layers, implied_layers(answer.layer, answer.cache_reason))
        if trail is not None
        else {},
    )


def failure_record(trail: Trail, error: PromptyardError, latency_ms: float, content: bool) -> CallRecord:
    """A call that ended in an error. What was spent on it all the same is on the trail."""
    call = trail.call
    attempts: Sequence[Attempt] = getattr(error, "attempts", ())
    provider = model = ""
    if isinstance(error, ProviderError) and error.provider:
        provider, model = error.provider, error.model
    elif attempts:
        provider, model = attempts[-1].provider, attempts[-1].model
    elif trail.asked is not None:
        provider, model = trail.asked.provider, trail.asked.model
    cost = trail.cost() if trail.costs else Cost(usd=_NOTHING)
    return CallRecord(
        **_of_call(call, content),
        latency_ms=latency_ms,
        status="failed",
        error=error.code,
        provider=provider,
        model=model,
        attempts=_attempts(attempts),
        cost_usd=cost.usd,
        price=_price(cost),
        explanation=_explanation(trail, trail.layers, {}),
    )


def _of_call(call: Call, content: bool) -> dict[str, Any]:
    """All that is known before there is an outcome."""
    version = call.version
    return {
        "id": call.id,
        "tenant": call.tenant,
        "started_at": call.received_at,
        "key_id": call.key_id,
        "origin": call.origin,
        "prompt": call.prompt,
        "version": version.version if version is not None else call.pinned,
        "release_id": call.release,
        "arm": call.arm,
        "weight": call.weight,
        "evidence": call.evidence,
        "user": call.user,
        "streamed": call.stream,
        "kind": call.kind,
        "variables": (_own_variables(call) or None) if content else None,
        "question": question_of(call) if content and call.kind == "chat" else None,
        "context": (call.context or None) if content else None,
        "experiment": call.experiment,
        "segment": call.segment,
        "propensity": call.propensity,
        "fell_back_from": call.fell_back_from,
        "mirrors": call.mirrors,
    }


def implied_layers(layer: str, reason: str) -> dict[str, str]:
    """What layers said, as a row's ``layer`` and ``cache_reason`` tell; rows that imply it keep no more."""
    if not reason or layer == Layer.STALE:
        return {}
    return {str(layer) if layer in (Layer.LOCAL, Layer.SEMANTIC) else Layer.EXACT.value: reason}


def _explanation(trail: Trail, layers: Mapping[str, str], implied: Mapping[str, str]) -> dict[str, Any]:
    stages: dict[str, float] = {}
    for stage in trail.stages:
        stages[stage.name] = round(stages.get(stage.name, 0.0) + stage.seconds * 1000, 3)
    told = {} if layers == implied else {"layers": dict(layers)}
    return {"stages_ms": stages, **told, **trail.notes}


def score_record(
    call_id: str, tenant: str, metric: str, source: str, value: float, scored_at: float, reason: str = ""
) -> ScoreRecord:
    """A score in [0, 1]. ``source`` is feedback, assertion or judge. Raises ``ValueError`` outside of the range."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a score lies in [0, 1], not at {value}")
    return ScoreRecord(
        call_id=call_id,
        metric=metric,
        source=source,
        tenant=tenant,
        value=float(value),
        reason=reason,
        scored_at=scored_at,
    )


def question_of(call: Call) -> str:
    """What the user asked: the same text for the same input, however far the call came.

    The last user message of the caller; else the variable ``question``, the only variable, or all of them by name.
    """
    own = _last_user_text(call.messages)
    return own or asked_by(call.variables) or _last_user_text(call.rendered)


def asked_by(variables: Mapping[str, str]) -> str:
    """What variables ask without any message: ``question``, the only one, or all of them by name."""
    if "question" in variables:
        return variables["question"]
    if len(variables) == 1:
        return next(iter(variables.values()))
    return "\n".join(f"{name}: {variables[name]}" for name in sorted(variables))


def _own_variables(call: Call) -> dict[str, str]:
    """What the caller gave, sorted, so that equal variables are equal JSON text."""
    return {name: call.variables[name] for name in sorted(call.variables)}


def _attempts(attempts: Sequence[Attempt]) -> list[Tried]:
    return [Tried(a.provider, a.model, round(a.latency_ms, 2), a.error) for a in attempts] if attempts else []


def _price(cost: Cost) -> dict[str, Any]:
    if cost.input_per_mtok is None and cost.output_per_mtok is None:
        return {}
    return {
        "input_per_mtok": _text(cost.input_per_mtok),
        "output_per_mtok": _text(cost.output_per_mtok),
        "data_version": cost.data_version,
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _last_user_text(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return _content_text(message.get("content"))
    return ""


def _content_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)):  # OpenAI's content parts
        parts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""
