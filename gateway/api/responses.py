"""JSON and error responses, alike for every resource."""

import logging
import math
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import InvalidRequest, NotFound, PromptyardError

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder(decimal_format="number").encode

RawHeaders = list[tuple[bytes, bytes]]
"""Response headers as ASGI takes them."""


class MethodNotAllowed(InvalidRequest):
    code = "method_not_allowed"
    status = 405
    default_hint = "The Allow header says which; /docs lists what there is."


class JsonResponse(Response):
    """A JSON body encoded by msgspec: structs and decimals included."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return _encode(content)


def error_body(error: PromptyardError, call_id: str | None = None) -> dict[str, Any]:
    """``{"error": {"code", "message", "hint", "call_id", "retryable"}}``; ``type`` is there for the OpenAI SDK.

    With ``attempts`` where providers were asked.
    """
    told: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "call_id": call_id,
        "retryable": error.retryable,
        "type": error.code,
    }
    if error.attempts:
        told["attempts"] = [
            {"provider": a.provider, "model": a.model, "error": a.error, "latency_ms": round(a.latency_ms, 1)}
            for a in error.attempts
        ]
    return {"error": told}


def error_headers(error: PromptyardError, call_id: str | None = None) -> dict[str, str]:
    headers: dict[str, str] = {}
    if error.retry_after is not None or error.status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after or 1)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if call_id:
        headers["x-promptyard-call-id"] = call_id
    return headers


def error_response(error: PromptyardError, call_id: str | None = None) -> Response:
    return JsonResponse(error_body(error, call_id), status_code=error.status, headers=error_headers(error, call_id))


async def on_promptyard_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PromptyardError)  # noqa: S101 (registered for this class only)
    gateway = getattr(request.app.state, "gateway", None)
    if gateway is not None:
        gateway.metrics.refused.labels(error.code).inc()
    return error_response(error)


async def on_validation_error(_request: Request, error: Exception) -> Response:
    """Of paths and queries; bodies are read by ``access.read_model``."""
    details: list[MutableMapping[str, Any]] = getattr(error, "errors", list)()
    first = details[0] if details else {"loc": (), "msg": "does not fit the schema"}
    where = ".".join(str(part) for part in first["loc"])
    return error_response(InvalidRequest(f"{where or 'request'}: {complaint(first)}"))


def complaint(detail: Mapping[str, Any]) -> str:
    """What pydantic has against a value, for people: not the regular expression that it had to match."""
    if detail.get("type") == "string_pattern_mismatch":
        return "is not of the form that it must have; /docs shows an example"
    return str(detail["msg"])


async def on_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for this class only)
    if error.status_code == 404:
        return error_response(NotFound("no such endpoint", hint="/docs lists what there is."))
    refused = (
        MethodNotAllowed("this endpoint has other methods")
        if error.status_code == 405
        else InvalidRequest(error.detail)
    )
    response = error_response(refused)
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response


def unexpected(error: Exception, where: str, call_id: str | None = None) -> PromptyardError:
    """A defect of ours, in the log by its type and place: its message could hold a prompt or a key.

    Returns what the caller is told.
    """
    frames = "".join(traceback.format_tb(error.__traceback__))
    extra = {"call_id": call_id}
    log.error("unexpected %s at %s, call %s\n%s", type(error).__name__, where, call_id or "-", frames, extra=extra)
    return PromptyardError("something went wrong inside the gateway")


class ContainDefects:
    """ASGI middleware: what nobody expected becomes a structured error, and its message reaches no log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            response = error_response(unexpected(error, scope["path"]))
            if started:  # a status was sent already: only a cut connection tells that the rest is missing
                raise ConnectionAbortedError("the answer ended early") from None
            await response(scope, receive, send)
