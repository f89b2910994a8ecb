"""``/v1/conversations/{id}``: what is held of a conversation, and forgetting it. Scope ``chat``."""

import asyncio
import re

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from gateway.api.access import gateway_of, principal
from gateway.api.completion_request import ChatMessage
from gateway.api.responses import JsonResponse
from gateway.conversations import store
from gateway.errors import UnknownConversation

_ID = re.compile(r"conv_[0-9a-z]{26}")

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])


class HeldTurn(BaseModel):
    """``at``: when it was answered, in seconds since the epoch."""

    turn: int
    prompt: str
    call_id: str
    at: float
    messages: list[ChatMessage]


class HeldConversation(BaseModel):
    """Turns, oldest first. The turn that is under way is not among them."""

    id: str
    turns: list[HeldTurn]


@router.get("/{conversation}", response_class=Response, responses={200: {"model": HeldConversation}})
async def get_conversation(
    request: Request,
    conversation: str,
    before: int | None = Query(None, ge=1, le=2_000_000_000, description="Only turns before this one."),
    limit: int = Query(100, ge=1, le=1000),
) -> Response:
    """The latest turns. 404 for another tenant's, as for one that was never begun."""
    caller = await principal(request, "chat")
    place = _place(caller.tenant, conversation)
    turns = await asyncio.to_thread(store.read, gateway_of(request).engine, place, before=before, limit=limit)
    return JsonResponse({"id": conversation, "turns": turns})


@router.delete("/{conversation}", status_code=204, response_class=Response)
async def delete_conversation(request: Request, conversation: str) -> Response:
    """All of its turns are gone when this has returned; the ledger keeps its calls by its own rules."""
    caller = await principal(request, "chat")
    place = _place(caller.tenant, conversation)
    await asyncio.to_thread(store.forget, gateway_of(request).engine, place)
    return Response(status_code=204)


def _place(tenant: str, conversation: str) -> store.Place:
    if not _ID.fullmatch(conversation):
        raise UnknownConversation("no such conversation is held")
    return store.Place(tenant, conversation)
