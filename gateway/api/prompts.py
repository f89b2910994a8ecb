"""``GET /v1/prompts/{name}``: what is active, for whom."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.access import gateway_of, principal
from gateway.api.responses import JsonResponse
from gateway.prompts.router import describe

router = APIRouter(prefix="/v1/prompts", tags=["prompts"])


@router.get("/{name}")
async def active(request: Request, name: str, user: str = "") -> Response:
    """The versions that serve and their shares; with ``?user=`` also which one that user gets.

    The context keys of an experiment are parameters too, such as ``?user=u&plan=pro``.
    """
    caller = await principal(request, "prompts:read")
    gateway = gateway_of(request)
    route = gateway.pipeline.router.find(caller.tenant, name)
    traits = {key: value for key in route.context_keys if (value := request.query_params.get(key))}
    return JsonResponse({**describe(route, user, traits), "revision": gateway.pipeline.router.table.revision})
