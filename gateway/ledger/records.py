"""What the ledger keeps of a call or a score: pure. Field for field the columns of ``CallRow`` and ``ScoreRow``."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NotRequired, TypedDict

from gateway.errors import PromptyardError, ProviderError
from gateway.trail import Trail
from gateway.types import Answer, Attempt, Call, Cost, Layer, Message

CALL = "call"
SCORE = "score"
_NOTHING = Decimal(0)


class CallRecord(TypedDict):
    """A row of ``calls``. On the wire, decimals are strings."""

    id: str
    tenant: str
    key_id: str
    origin: str
    prompt: str
    version: str
    release_id: str
    arm: str
    weight: int
    evidence: bool
    user: str
    started_at: float
    latency_ms: float
    first_token_ms: float | None
    streamed: bool
    status: str
    error: str
    layer: str
    cache_reason: str
    provider: str
    model: str
    fell_back: bool
    attempts: list[dict[str, Any]]
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    saved_usd: Decimal | None
    price: dict[str, Any]
    documents: list[str]
    variables: dict[str, str] | None
    question: str | None
    answer: str | None
    context: str | None
    kind: NotRequired[str]  # not in the spool lines of version 0.1.0
    explanation: NotRequired[dict[str, Any]]


class ScoreRecord(TypedDict):
    """A row of ``scores``."""

    call_id: str
    metric: str
    source: str
    tenant: str
    value: float
    reason: str
    scored_at: float


def call_record(answer: Answer, content: bool, trail: Trail | None = None) -> CallRecord:
    """An answered call. ``content``: whether question, answer, variables and context are kept."""
    reply, cost = answer.reply, answer.cost
    record = _asked(answer.call, content)
    record["latency_ms"] = answer.latency_ms
    record["first_token_ms"] = answer.first_token_ms
    record["layer"] = answer.layer.value
    record["cache_reason"] = answer.cache_reason
    record["provider"] = reply.provider
    record["model"] = reply.model
    record["fell_back"] = reply.fell_back
    record["attempts"] = _attempts(reply.attempts)
    record["input_tokens"] = reply.usage.input_tokens
    record["cached_input_tokens"] = reply.usage.cached_input_tokens
    record["output_tokens"] = reply.usage.output_tokens
    record["cost_usd"], record["saved_usd"] = answer.paid_usd, answer.saved_usd
    record["price"] = _price(cost)
    record["documents"] = list(reply.documents)
    record["answer"] = reply.text if content and answer.call.kind == "chat" else None
    if trail is not None:
        record["explanation"] = _explanation(trail)
    return record


def failure_record(trail: Trail, error: PromptyardError, latency_ms: float, content: bool) -> CallRecord:
    """A call that ended in an error. What was spent on it all the same is on the trail."""
    record = _asked(trail.call, content)
    record["latency_ms"] = latency_ms
    record["status"] = "failed"
    record["error"] = error.code
    attempts: Sequence[Attempt] = getattr(error, "attempts", ())
    record["attempts"] = _attempts(attempts)
    last = trail.asked
    if isinstance(error, ProviderError) and error.provider:
        record["provider"], record["model"] = error.provider, error.model
    elif attempts:
        record["provider"], record["model"] = attempts[-1].provider, attempts[-1].model
    elif last is not None:
        record["provider"], record["model"] = last.provider, last.model
    if trail.costs:
        cost = trail.cost()
        record["cost_usd"], record["price"] = cost.usd, _price(cost)
    record["explanation"] = _explanation(trail)
    return record


def _explanation(trail: Trail) -> dict[str, Any]:
    stages: dict[str, float] = {}
    for stage in trail.stages:
        stages[stage.name] = round(stages.get(stage.name, 0.0) + stage.seconds * 1000, 3)
    return {"stages_ms": stages, **trail.notes}


def score_record(
    call_id: str, tenant: str, metric: str, source: str, value: float, scored_at: float, reason: str = ""
) -> ScoreRecord:
    """A score in [0, 1]. ``source`` is feedback, assertion or judge. Raises ``ValueError`` outside of the range."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a score lies in [0, 1], not at {value}")
    return {
        "call_id": call_id,
        "metric": metric,
        "source": source,
        "tenant": tenant,
        "value": float(value),
        "reason": reason,
        "scored_at": scored_at,
    }


def question_of(call: Call) -> str:
    """What the user asked: the same text for the same input, however far the call came.

    The last user message of the caller; else the variable ``question``, the only variable, or all of them by name.
    """
    own = _last_user_text(call.messages)
    if own:
        return own
    given = _own_variables(call)
    if "question" in given:
        return given["question"]
    if len(given) == 1:
        return next(iter(given.values()))
    return "\n".join(f"{name}: {value}" for name, value in given.items()) or _last_user_text(call.rendered)


def _asked(call: Call, content: bool) -> CallRecord:
    """All that is known before there is an outcome."""
    version = call.version
    return {
        "id": call.id,
        "tenant": call.tenant,
        "key_id": call.key_id,
        "origin": str(call.origin),
        "prompt": call.prompt,
        "version": version.version if version else call.pinned,
        "release_id": call.release,
        "arm": call.arm,
        "weight": call.weight,
        "evidence": call.evidence,
        "user": call.user,
        "started_at": call.received_at,
        "latency_ms": 0.0,
        "first_token_ms": None,
        "streamed": call.stream,
        "status": "ok",
        "error": "",
        "layer": str(Layer.NONE),
        "cache_reason": "",
        "provider": "",
        "model": "",
        "fell_back": False,
        "attempts": [],
        "input_tokens": 0,
        "cached_input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": _NOTHING,
        "saved_usd": _NOTHING,
        "price": {},
        "documents": [],
        "variables": (_own_variables(call) or None) if content else None,
        "question": question_of(call) if content and call.kind == "chat" else None,
        "answer": None,
        "context": _context(call) if content else None,
        "kind": call.kind,
        "explanation": {},
    }


def _own_variables(call: Call) -> dict[str, str]:
    """What the caller gave, sorted, so that equal variables are equal JSON text."""
    return {name: call.variables[name] for name in sorted(call.variables)}


def _context(call: Call) -> str | None:
    return call.context or None


def _attempts(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    return [
        {"provider": a.provider, "model": a.model, "latency_ms": round(a.latency_ms, 2), "error": a.error}
        for a in attempts
    ]


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
