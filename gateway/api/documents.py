"""``/v1/documents/{collection}/{id}``: what grounds the answers."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway.api.access import described, gateway_of, principal, read_model
from gateway.api.responses import JsonResponse
from gateway.errors import UnknownDocument

router = APIRouter(prefix="/v1/documents", tags=["documents"])

MAX_PAGE = 500


class Document(BaseModel):
    """A document as it is written."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str = Field("", max_length=500)
    text: str = Field(min_length=1, max_length=1_000_000)
    attributes: dict[str, Any] = Field(default_factory=dict)


@router.put("/{collection}/{document_id}", openapi_extra=described(Document))
async def put(request: Request, collection: str, document_id: str) -> Response:
    """When this has returned, no worker serves an answer that was made from the version before."""
    caller = await principal(request, "documents:write")
    body = await read_model(request, Document)
    state = await gateway_of(request).documents.put(
        caller.tenant, collection, document_id, title=body.title, text=body.text, attributes=body.attributes
    )
    return JsonResponse(state)


@router.delete("/{collection}/{document_id}")
async def delete(request: Request, collection: str, document_id: str) -> Response:
    """When this has returned, no worker serves an answer that was made from the document."""
    caller = await principal(request, "documents:write")
    state = await gateway_of(request).documents.delete(caller.tenant, collection, document_id)
    return JsonResponse(state)


@router.get("/{collection}/{document_id}")
async def get(request: Request, collection: str, document_id: str) -> Response:
    caller = await principal(request, "documents:read")
    document = await gateway_of(request).documents.get(caller.tenant, collection, document_id)
    if document is None:
        raise UnknownDocument(f"there is no document {document_id!r} in {collection!r}")
    return JsonResponse(document)


@router.get("/{collection}")
async def list_documents(
    request: Request,
    collection: str,
    after: Annotated[str, Query(max_length=120, description="The page behind this id: 'next' of the one before.")] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> Response:
    """A page in order of id. ``has_more`` says whether another follows, ``next`` what to ask for as ``after``."""
    caller = await principal(request, "documents:read")
    found = await gateway_of(request).documents.list(caller.tenant, collection, after=after, limit=limit + 1)
    page, has_more = found[:limit], len(found) > limit
    return JsonResponse({"documents": page, "has_more": has_more, "next": page[-1].id if has_more else None})
