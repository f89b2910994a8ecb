"""An Answer in OpenAI's shapes, with the ``promptyard`` object and headers that say where it came from. Pure."""

from collections.abc import Mapping
from typing import Any

from gateway.types import Answer, Call, Delta, Usage


def completion(answer: Answer) -> dict[str, Any]:
    """A ``chat.completion`` object."""
    reply = answer.reply
    return {
        "id": answer.call.id,
        "object": "chat.completion",
        "created": int(answer.call.received_at),
        "model": reply.model,
        "choices": [
            {"index": 0, "message": reply.message, "finish_reason": reply.finish_reason, "logprobs": None},
        ],
        "usage": usage(reply.usage),
        "promptyard": provenance(answer),
    }


def chunk(call: Call, piece: Delta) -> dict[str, Any]:
    """A ``chat.completion.chunk`` object."""
    return _chunk(call, call.model or call.prompt, [{"index": 0, "delta": _delta(piece), "finish_reason": None}])


def last_chunks(answer: Answer, *, with_usage: bool) -> list[dict[str, Any]]:
    """The chunk that says why the answer ended and, if asked for, the one with the usage; the last one explains."""
    call, reply = answer.call, answer.reply
    end = _chunk(call, reply.model, [{"index": 0, "delta": {}, "finish_reason": reply.finish_reason}])
    chunks = [end]
    if with_usage:
        chunks.append(_chunk(call, reply.model, []) | {"usage": usage(reply.usage)})
    chunks[-1]["promptyard"] = provenance(answer)
    return chunks


def usage(used: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.input_tokens + used.output_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_input_tokens},
    }


def provenance(answer: Answer) -> dict[str, Any]:
    """Where the answer came from. ``cost_usd`` is null where the price is unknown."""
    call, reply = answer.call, answer.reply
    version = call.version
    return {
        "call_id": call.id,
        "prompt": version.name if version else None,
        "version": version.version if version else None,
        "arm": call.arm or None,
        "release": call.release or None,
        "experiment": call.experiment or None,
        "fell_back_from": call.fell_back_from or None,
        "cache": {"layer": answer.layer.value, "reason": answer.cache_reason, "reasons": answer.layers},
        "provider": reply.provider,
        "model": reply.model,
        "attempts": [
            {"provider": a.provider, "model": a.model, "latency_ms": round(a.latency_ms, 1), "error": a.error or None}
            for a in reply.attempts
        ],
        "cost_usd": answer.paid_usd,
        "documents": list(reply.documents),
    }


def _delta(piece: Delta) -> Mapping[str, Any]:
    """In streams, tool calls are numbered; in a whole message, such as a kept one, they are not."""
    tools = piece.delta.get("tool_calls")
    if not tools or "index" in tools[0]:
        return piece.delta
    return {**piece.delta, "tool_calls": [{"index": index, **tool} for index, tool in enumerate(tools)]}


def _chunk(call: Call, model: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": call.id,
        "object": "chat.completion.chunk",
        "created": int(call.received_at),
        "model": model,
        "choices": choices,
    }
