"""JSON and error responses, alike for every resource."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import InvalidRequest, NotFound, PromptyardError

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder(decimal_format="number").encode


class JsonResponse(Response):
    """A JSON body encoded by msgspec: structs and decimals included."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return _encode(content)


def error_body(error: PromptyardError, call_id: str | None = None) -> dict[str, Any]:
    """``{"error": {"code", "message", "hint", "call_id", "retryable"}}``; ``type`` is there for the OpenAI SDK."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "call_id": call_id,
            "retryable": error.retryable,
            "type": error.code,
        }
    }


def error_response(error: PromptyardError, call_id: str | None = None) -> Response:
    headers: dict[str, str] = {}
    if error.retry_after is not None or error.status in (429, 503):
        headers["Retry-After"] = str(max(1, round(error.retry_after or 1)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if call_id:
        headers["x-promptyard-call-id"] = call_id
    return JsonResponse(error_body(error, call_id), status_code=error.status, headers=headers)


async def on_promptyard_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PromptyardError)  # noqa: S101 (registered for this class only)
    gateway = getattr(request.app.state, "gateway", None)
    if gateway is not None:
        gateway.metrics.refused.labels(error.code).inc()
    return error_response(error)


async def on_validation_error(_request: Request, error: Exception) -> Response:
    details: list[Mapping[str, Any]] = getattr(error, "errors", list)()
    first = details[0] if details else {"loc": ("body",), "msg": "does not fit the schema"}
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return error_response(InvalidRequest(f"{where or 'body'}: {first['msg']}"))


async def on_http_error(_request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    if status == 404:
        return error_response(NotFound("no such endpoint", hint="/docs lists what there is."))
    refused = InvalidRequest(str(getattr(error, "detail", "the request was refused")))
    response = error_response(refused)
    response.status_code = status
    return response


async def on_unexpected_error(request: Request, error: Exception) -> Response:
    # The type alone: a message could hold a prompt or a key. The traceback is in the log of the server.
    log.error("unexpected %s at %s", type(error).__name__, request.url.path, exc_info=error)
    return error_response(PromptyardError("something went wrong inside the gateway"))
