"""``/v1/jobs``: long work, accepted with 202, run by the control plane, polled and cancelled here."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from gateway.api.access import checked, described, gateway_of, principal, read_json
from gateway.api.job_request import CompletionJob, JobBody, job_of
from gateway.api.job_response import ItemPage, JobPage, JobView
from gateway.api.once import REPLAY_HEADER, once
from gateway.api.responses import JsonResponse
from gateway.api.serving import Asker
from gateway.auth.authenticator import require
from gateway.clock import new_id
from gateway.compose import Gateway
from gateway.jobs import store
from gateway.storage.models import JobRow
from gateway.types import Principal

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

SCOPE = "jobs"


@router.post("", status_code=202, response_model=JobView, openapi_extra=described(JobBody))
async def create(request: Request) -> Response:
    """Every item is checked first: a job is accepted whole or not at all. Needs the scope of what it does, too."""
    caller = await principal(request, SCOPE)
    gateway = gateway_of(request)
    value = await read_json(request)

    async def work(job_id: str) -> bytes:
        # Thousands of items take longer to check than the calls beside them may wait.
        row = await asyncio.to_thread(accept, gateway, caller, value, job_id)
        return JobView.of(row).model_dump_json().encode()

    view, replayed = await once(gateway, request, caller.tenant, value, new_id("job", gateway.clock), work)
    headers = {"Location": f"{router.prefix}/{JobView.model_validate_json(view).id}"}
    if replayed:
        headers[REPLAY_HEADER] = "true"
    return Response(view, status_code=202, media_type="application/json", headers=headers)


def accept(gateway: Gateway, caller: Principal, value: Mapping[str, Any], job_id: str) -> JobRow:
    """Check and queue a job; once, for one ``job_id``. Raises what the API answers with."""
    body = checked(value, JobBody)
    require(caller, "chat" if isinstance(body.root, CompletionJob) else "documents:write")
    settings, clock = gateway.settings, gateway.clock
    job = job_of(
        body,
        job_id,
        Asker("", clock.now(), caller, gateway.provider_names),
        gateway.pipeline.router,
        most_items=settings.job_max_items,
        import_root=settings.import_root,
    )
    return store.accept(gateway.engine, clock, job, most_open=settings.job_max_open)


@router.get("", response_model=JobPage)
async def list_jobs(
    request: Request,
    after: Annotated[str, Query(pattern=r"^(job_[0-9a-z]{26})?$", description="A job's id.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Newest first."""
    caller = await principal(request, SCOPE)
    engine = gateway_of(request).engine
    rows = await asyncio.to_thread(store.page, engine, caller.tenant, after=after, limit=limit)
    return _json(JobPage.of(rows, limit))


@router.get("/{job_id}", response_model=JobView)
async def show(request: Request, job_id: str) -> Response:
    """State, counts, progress and what it has cost so far."""
    caller = await principal(request, SCOPE)
    row = await asyncio.to_thread(store.get, gateway_of(request).engine, caller.tenant, job_id)
    return _json(JobView.of(row))


@router.get("/{job_id}/items", response_model=ItemPage)
async def list_items(
    request: Request,
    job_id: str,
    after: Annotated[int, Query(ge=-1, le=1_000_000, description="An item's seq.")] = -1,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Results in the order of the items, the unfinished ones too. They are kept until the job is forgotten."""
    caller = await principal(request, SCOPE)
    engine = gateway_of(request).engine
    rows = await asyncio.to_thread(store.items, engine, caller.tenant, job_id, after=after, limit=limit)
    return _json(ItemPage.of(rows, limit))


@router.post("/{job_id}/cancel", response_model=JobView)
async def cancel(request: Request, job_id: str) -> Response:
    """What waits is cancelled at once, what is worked on after the items in flight. What is finished stays so."""
    return await _cancelled(request, job_id)


@router.delete("/{job_id}", response_model=JobView)
async def delete(request: Request, job_id: str) -> Response:
    """As ``cancel``: the job and its results stay readable."""
    return await _cancelled(request, job_id)


async def _cancelled(request: Request, job_id: str) -> Response:
    caller = await principal(request, SCOPE)
    gateway = gateway_of(request)
    row = await asyncio.to_thread(store.cancel, gateway.engine, gateway.clock, caller.tenant, job_id)
    return _json(JobView.of(row))


def _json(view: BaseModel, *, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return JsonResponse(view.model_dump(mode="json"), status_code=status_code, headers=headers)
