"""The simulator's ASGI application: both providers, the list of models, and the admin endpoints."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .admin import AdminEndpoints
from .answering import ProviderEndpoint, World, respond
from .anthropic_batches import AnthropicBatches
from .anthropic_wire import AnthropicDialect, read_messages
from .faults import DEFAULT_LATENCY, FaultBoard, Latency
from .openai_batches import OpenAIBatches
from .openai_wire import OpenAIDialect, read_chat, read_embeddings
from .practice.abilities import LISTED_MODELS
from .statistics import CallCounts
from .wire import Refusal, header

#: When every listed model is said to have been made: 2025-04-14, in Unix seconds.
_MODEL_BIRTH = 1_744_588_800


def build_app(
    seed: int = 0,
    *,
    latency: Latency = DEFAULT_LATENCY,
    now: Callable[[], float] = time.monotonic,
    unix_time: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> ASGIApp:
    """Builds the application. `seed` fixes ids, latencies and errors; `latency` holds where no rule says otherwise."""
    rng = random.Random(seed)
    world = World(FaultBoard(random.Random(seed + 1), now, latency), CallCounts(), rng, unix_time, sleep)
    admin = AdminEndpoints(world)
    hot = {
        "/v1/chat/completions": ProviderEndpoint(world, OpenAIDialect(), "chat.completions", read_chat),
        "/v1/embeddings": ProviderEndpoint(world, OpenAIDialect(), "embeddings", read_embeddings),
        "/v1/messages": ProviderEndpoint(world, AnthropicDialect(), "messages", read_messages),
    }
    others = Starlette(
        routes=[
            Route("/admin/faults", admin.faults, methods=["GET", "PUT", "DELETE"]),
            Route("/admin/stats", admin.stats, methods=["GET", "DELETE"]),
            *OpenAIBatches(world).routes(),
            *AnthropicBatches(world).routes(),
            Route("/v1/models", _models, methods=["GET"]),
            Route("/v1/models/{model}", _models, methods=["GET"]),
            Route("/healthz", _health, methods=["GET"]),
            Route("/{path:path}", _unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # The hot paths go before the router: they are what load tests hit.
        endpoint = hot.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is None:
            await others(scope, receive, send)
        elif scope["method"] != "POST":
            refusal = Refusal(
                405, f"Not allowed to {scope['method']} on {scope['path']} (HINT: Perhaps you meant POST?)"
            )
            await respond(send, 405, _dialect(scope).error(refusal, "req_0"), "0")
        else:
            await endpoint(scope, receive, send)

    return app


async def _health(request: Request) -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")


async def _unknown(request: Request) -> Response:
    refusal = Refusal(404, f"Invalid URL ({request.method} {request.url.path})")
    return Response(_dialect(request.scope).error(refusal, "req_0"), 404, media_type="application/json")


async def _models(request: Request) -> Response:
    """The models that have an ability of their own; any other name is answered too."""
    dialect = _dialect(request.scope)
    refusal = None
    wanted = request.path_params.get("model")
    listed = [row for row in LISTED_MODELS if wanted in (None, row[0])]
    if not dialect.key(request.scope["headers"]):
        refusal = Refusal(401, "You didn't provide an API key.")
    elif not listed:
        refusal = Refusal(404, f"The model '{wanted}' does not exist.")
    if refusal is not None:
        return Response(dialect.error(refusal, "req_0"), refusal.status, media_type="application/json")
    if isinstance(dialect, AnthropicDialect):
        born = datetime.fromtimestamp(_MODEL_BIRTH, UTC).isoformat()
        rows = [{"type": "model", "id": m, "display_name": m, "created_at": born} for m, _ in listed]
        whole: dict[str, object] = {"data": rows, "has_more": False, "first_id": listed[0][0], "last_id": listed[-1][0]}
    else:
        rows = [{"id": m, "object": "model", "created": _MODEL_BIRTH, "owned_by": owner} for m, owner in listed]  # type: ignore[dict-item]
        whole = {"object": "list", "data": rows}
    return Response(msgspec.json.encode(whole if wanted is None else rows[0]), media_type="application/json")


def _dialect(scope: Scope) -> OpenAIDialect | AnthropicDialect:
    return AnthropicDialect() if header(scope["headers"], b"anthropic-version") else OpenAIDialect()
