"""One call as its caller saw it. Pure: what a body or a stream of events says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests.chaos.questions import Question


class Kind(StrEnum):
    ANSWERED = "answered"
    REFUSED = "refused"
    """An HTTP error with the gateway's body."""
    CUT = "cut"
    """A stream that ended in the gateway's error event."""
    BROKEN = "broken"
    """A connection that broke."""
    UNEXPLAINED = "unexplained"
    """None of these: no structured error, or nothing within the caller's patience."""


@dataclass(frozen=True)
class Outcome:
    """Times are of the event loop's clock. ``detail`` is an error's code, or what was seen instead."""

    question: Question
    begun: float
    ended: float
    kind: Kind
    call_id: str = ""
    text: str = ""
    layer: str = ""
    reason: str = ""
    """Why the cache did not answer."""
    provider: str = ""
    tries: int = 0
    detail: str = ""
    streamed: bool = False


def of_body(status: int, body: bytes) -> dict[str, Any]:
    """The fields of an Outcome that a whole answer tells."""
    try:
        value = json.loads(body)
    except ValueError:
        return {"kind": Kind.UNEXPLAINED, "detail": f"status {status}, no JSON"}
    if status == 200:
        text = value["choices"][0]["message"]["content"]
        return {"kind": Kind.ANSWERED, "text": text, **_provenance(value["promptyard"])}
    return _error(value, Kind.REFUSED)


def of_stream(events: list[str], call_id: str) -> dict[str, Any]:
    """The fields of an Outcome that the ``data`` of a stream's events tells."""
    text = ""
    told: Mapping[str, Any] = {}
    for data in events:
        if data == "[DONE]":
            if told:
                return {"kind": Kind.ANSWERED, "text": text, **_provenance(told)}
            break
        value = json.loads(data)
        if "error" in value:
            return _error(value, Kind.CUT) | {"text": text, "call_id": call_id}
        for choice in value["choices"]:
            text += choice["delta"].get("content") or ""
        told = value.get("promptyard") or told
    return {"kind": Kind.UNEXPLAINED, "detail": "a stream without an end", "text": text, "call_id": call_id}


def _provenance(told: Mapping[str, Any]) -> dict[str, Any]:
    cache = told["cache"]
    return {
        "call_id": told["call_id"],
        "layer": cache["layer"],
        "reason": cache["reason"],
        "provider": told["provider"],
        "tries": len(told["attempts"]),
    }


def _error(value: Any, kind: Kind) -> dict[str, Any]:
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict) or not error.get("code"):
        return {"kind": Kind.UNEXPLAINED, "detail": f"an error without a code: {str(value)[:200]}"}
    return {"kind": kind, "detail": str(error["code"]), "call_id": str(error.get("call_id") or "")}
