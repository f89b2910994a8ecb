"""The OpenAPI document. The endpoints that answer calls are plain ASGI, so they are described here; to all the others
it adds what is the same for all: keys, errors, and that bodies are read apart from the framework.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec import Struct
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api import schema_answers as answers
from gateway.api.completion_request import ChatRequest, CompletionRequest
from gateway.api.schema_requests import ChatCompletionRequest, MessagesRequest

Schema = dict[str, Any]

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Without a key: nothing of a tenant is in them."""

_REF = "#/components/schemas/{model}"
_ERRORS: Mapping[int, str] = {
    400: "The request is wrong: 'message' names the field.",
    401: "No key, or one that is not known.",
    403: "The key lacks the scope.",
    404: "There is no such thing, or it is another tenant's.",
    405: "This path has other methods.",
    408: "The body took too long to arrive.",
    409: "It conflicts with what is there or under way.",
    413: "The body is too large.",
    429: "A rate limit or a budget is used up: see Retry-After.",
    500: "A defect of the gateway.",
    502: "No provider answered well.",
    503: "Too many calls are in flight, or SQL or Redis is away: see Retry-After.",
    504: "No provider answered in time.",
}
_READING = (400, 401, 403, 404, 429, 500, 503)
_WRITING = (*_READING, 408, 409, 413, 502, 504)
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"x-api-key": []}]
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


class Endpoint(Struct, frozen=True):
    """One endpoint that answers calls."""

    summary: str
    body: type[BaseModel]
    answer: type[BaseModel]
    error: type[BaseModel] = answers.ErrorBody
    events: tuple[str, ...] = ("delta", "answer", "error")
    """Names of a stream's events."""


ENDPOINTS: Mapping[str, Endpoint] = {
    "/v1/chat/completions": Endpoint(
        "OpenAI's chat completions", ChatCompletionRequest, answers.ChatCompletion, events=("message",)
    ),
    "/v1/messages": Endpoint(
        "Anthropic's messages",
        MessagesRequest,
        answers.AnthropicAnswer,
        answers.AnthropicErrorBody,
        events=(
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
            "error",
        ),
    ),
    "/v1/completion": Endpoint("One answer of a managed prompt", CompletionRequest, answers.CompletionAnswer),
    "/v1/chat": Endpoint("A turn of a conversation with a managed prompt", ChatRequest, answers.ChatAnswer),
}
_ANSWERS: Mapping[tuple[str, str], tuple[int, type[BaseModel] | None]] = {
    ("/v1/documents/{collection}/{document_id}", "put"): (200, answers.DocumentState),
    ("/v1/documents/{collection}/{document_id}", "delete"): (200, answers.DocumentState),
    ("/v1/documents/{collection}/{document_id}", "get"): (200, answers.DocumentView),
    ("/v1/documents/{collection}", "get"): (200, answers.DocumentPage),
    ("/v1/prompts/{name}", "get"): (200, answers.ActivePrompt),
    ("/v1/messages/count_tokens", "post"): (404, answers.AnthropicErrorBody),
    ("/healthz", "get"): (200, answers.Alive),
    ("/readyz", "get"): (200, answers.Readiness),
    ("/metrics", "get"): (200, None),
}
"""What routes answer that say it nowhere else; None is text."""


def openapi(app: FastAPI, hot_paths: Iterable[str]) -> Schema:
    """The document, made once; ``hot_paths`` are those of ``ENDPOINTS`` that this application has."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title=app.title, version=app.version, routes=app.routes, description=app.description)
    components = document.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    schemas |= _definitions([answers.ErrorBody, *_models()])
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation)
    for path in hot_paths:
        if endpoint := ENDPOINTS.get(path):
            document["paths"].setdefault(path, {})["post"] = _operation(path, endpoint)
    app.openapi_schema = document
    return document


def _models() -> list[type[BaseModel]]:
    found = [model for endpoint in ENDPOINTS.values() for model in (endpoint.body, endpoint.answer, endpoint.error)]
    return list(dict.fromkeys([*found, *(model for _, model in _ANSWERS.values() if model)]))


def _definitions(models: Sequence[type[BaseModel]]) -> Schema:
    _, document = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    definitions: Schema = document["$defs"]
    return definitions


def _operation(path: str, endpoint: Endpoint) -> Schema:
    content = _json(endpoint.answer) | {"text/event-stream": {"schema": _event(endpoint.events)}}
    return {
        "tags": ["chat"],
        "summary": endpoint.summary,
        "description": inspect.cleandoc(endpoint.body.__doc__ or ""),
        "operationId": "answer" + path.replace("/", "_"),
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same key with the same body gets the same answer, charged once.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
            }
        ],
        "requestBody": {"required": True, "content": _json(endpoint.body)},
        "responses": {"200": {"description": "The answer; events where 'stream' is true.", "content": content}}
        | _errors(_WRITING, endpoint.error),
        "security": _SECURITY,
    }


def _event(names: Sequence[str]) -> Schema:
    """One server-sent event; ``message`` is the name of those that have none."""
    return {
        "type": "object",
        "description": "One event of the stream. The data is JSON; OpenAI's streams end with [DONE].",
        "properties": {"event": {"enum": list(names)}, "data": {"type": "string"}},
        "required": ["data"],
    }


def _complete(path: str, method: str, operation: Schema) -> None:
    responses: Schema = operation["responses"]
    responses.pop("422", None)  # the framework's own; here it is a 400
    if known := _ANSWERS.get((path, method)):
        status, model = known
        if status != 200:
            responses.pop("200", None)
        content = _json(model) if model else {"text/plain": {"schema": {"type": "string"}}}
        responses[str(status)] = {"description": _ERRORS.get(status, "As asked."), "content": content}
    if path in OPEN_PATHS:
        return
    operation["security"] = _SECURITY
    operation["responses"] = _errors(_READING if method == "get" else _WRITING, answers.ErrorBody) | responses


def _errors(statuses: Iterable[int], model: type[BaseModel]) -> Schema:
    return {str(status): {"description": _ERRORS[status], "content": _json(model)} for status in sorted(statuses)}


def _json(model: type[BaseModel]) -> Schema:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}
