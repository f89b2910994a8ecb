"""``GET /v1/models`` in OpenAI's shape: what this tenant may write as ``model``. Scope ``chat``.

Listed are the tenant's own prompts, the models of their chains, and the embedding models that are set up; other models
of the configured providers are answered too.
"""

from collections.abc import Iterable
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from gateway.api.access import gateway_of, principal
from gateway.api.chat_request import MANAGED
from gateway.api.responses import JsonResponse
from gateway.errors import UnknownModel
from gateway.types import ModelRef, Route, RoutingTable

router = APIRouter(prefix="/v1/models", tags=["models"])


class Model(BaseModel):
    """``created``: for a prompt, when what serves it was last published (seconds since the epoch); else 0."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


@router.get("", response_class=Response, responses={200: {"model": ModelList}})
async def list_models(request: Request) -> Response:
    """The tenant's prompts as ``prompt:<name>``, then models as ``<provider>/<model>``."""
    return JsonResponse({"object": "list", "data": await _models(request)})


@router.get("/{model:path}", response_class=Response, responses={200: {"model": Model}})
async def get_model(request: Request, model: str) -> Response:
    """One of the list. 404 for any other name, also for another tenant's prompt."""
    for one in await _models(request):
        if one["id"] == model:
            return JsonResponse(one)
    raise UnknownModel("no such model is listed")


async def _models(request: Request) -> list[dict[str, object]]:
    caller = await principal(request, "chat")
    gateway = gateway_of(request)
    return listed(gateway.pipeline.router.table, caller.tenant, gateway.embedding_models.listed)


def listed(table: RoutingTable, tenant: str, embedding: Iterable[ModelRef]) -> list[dict[str, object]]:
    """Pure: prompts by name, then chain models and embedding models by name, each once."""
    routes = sorted((route for route in table.routes if route.tenant == tenant), key=lambda route: route.prompt)
    prompts = [_model(f"{MANAGED}{route.prompt}", "promptyard", int(table.published_at)) for route in routes]
    refs = {ref for route in routes for ref in _chain(route)} | set(embedding)
    return prompts + [_model(str(ref), ref.provider, 0) for ref in sorted(refs)]


def _chain(route: Route) -> Iterable[ModelRef]:
    return (ref for arm in route.arms for ref in arm.version.chain)


def _model(name: str, owner: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}
