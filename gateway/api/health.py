"""``/healthz``, ``/readyz`` and ``/metrics``: unauthenticated, and without anything of a tenant in them."""

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from gateway.api.access import gateway_of
from gateway.api.responses import JsonResponse

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Response:
    """The process runs."""
    return JsonResponse({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """``ok``, or ``degraded`` with what is down: a degraded gateway still answers, so the status stays 200."""
    return JsonResponse(await gateway_of(request).health())


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    return PlainTextResponse(gateway_of(request).metrics.exposition(), media_type="text/plain; version=0.0.4")
