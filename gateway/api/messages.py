"""``POST /v1/messages``: the endpoint that the Anthropic SDK talks to."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.access import principal
from gateway.api.messages_request import read_message_call
from gateway.api.messages_response import MessageEvents, message
from gateway.api.responses import JsonResponse, error_headers
from gateway.api.serving import Answering, Asker
from gateway.errors import NotFound, PromptyardError
from gateway.types import Answer, Call, Delta

_encode = msgspec.json.Encoder(decimal_format="number").encode

_ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}

router = APIRouter(tags=["chat"])


class MessagesWriter:
    """Anthropic's events. Protocol: https://platform.claude.com/docs/en/build-with-claude/streaming."""

    def __init__(self, call: Call, model: str) -> None:
        self._call = call
        self._events = MessageEvents(call.id, model)

    def piece(self, delta: Delta) -> bytes:
        return _written(self._events.of(delta))

    def last(self, answer: Answer) -> bytes:
        return _written(self._events.end(answer))

    def broken(self, error: PromptyardError) -> bytes:
        partial = {"call_id": self._call.id, "partial": True}
        return _written([{**anthropic_error(error, self._call.id), "promptyard": partial}])


class MessagesFace:
    """Anthropic's messages."""

    def read(self, body: Mapping[str, Any], asker: Asker) -> Call:
        return read_message_call(body, asker)

    def whole(self, answer: Answer) -> Any:
        return message(answer)

    def writer(self, call: Call, body: Mapping[str, Any]) -> MessagesWriter:
        return MessagesWriter(call, str(body.get("model")))

    def refusal(self, error: PromptyardError, call_id: str) -> Any:
        return anthropic_error(error, call_id)


def anthropic_error(error: PromptyardError, call_id: str | None) -> dict[str, Any]:
    """``{"type": "error", "error": {"type", "message", ...}}``; ``type`` is Anthropic's word for the status, the code,
    hint, call id and whether to retry are ours."""
    return {
        "type": "error",
        "error": {
            "type": _ERROR_TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error"),
            "message": error.message,
            "code": error.code,
            "hint": error.hint,
            "call_id": call_id,
            "retryable": error.retryable,
        },
        "request_id": call_id,
    }


@router.post("/v1/messages/count_tokens")
async def count_tokens(request: Request) -> Response:
    """Not served: every provider counts in its own way, and the provider is known only once the call is routed."""
    await principal(request, "chat")
    error = NotFound(
        "tokens are not counted ahead of a call",
        hint="An answer's 'usage' says what was counted; send max_tokens to bound it.",
    )
    return JsonResponse(anthropic_error(error, None), status_code=error.status, headers=error_headers(error))


def _written(events: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(b"event: " + event["type"].encode() + b"\ndata: " + _encode(event) + b"\n\n" for event in events)


messages = Answering(MessagesFace())
