"""``GET /v1/prompts/{name}``: what is active, for whom."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.access import gateway_of, principal
from gateway.api.responses import JsonResponse
from gateway.prompts.router import describe

router = APIRouter(prefix="/v1/prompts", tags=["prompts"])


@router.get("/{name}")
async def active(request: Request, name: str, user: str = "") -> Response:
    """The versions that serve and their shares; with ``?user=`` also which one that user gets."""
    caller = await principal(request, "prompts:read")
    gateway = gateway_of(request)
    route = gateway.pipeline.router.find(caller.tenant, name)
    return JsonResponse({**describe(route, user), "revision": gateway.pipeline.router.table.revision})
