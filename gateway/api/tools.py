"""``/v1/tools``: what tools are registered, and running one directly. Scope ``tools``."""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.responses import Response

from gateway.api.access import described, gateway_of, principal, read_model
from gateway.api.responses import JsonResponse
from gateway.auth.authenticator import require
from gateway.clock import new_id
from gateway.compose import Gateway
from gateway.errors import Overloaded
from gateway.names import check_name
from gateway.tools.execution import Result
from gateway.tools.registry import Tool
from gateway.types import Call, Principal

router = APIRouter(prefix="/v1/tools", tags=["tools"])

SCOPE = "tools"


class ToolView(BaseModel):
    name: str
    description: str
    input_schema: dict[str, Any] = Field(description="JSON schema of the arguments, an object.")
    repeatable: bool = Field(description="The same arguments give the same result: answers made with it may be cached.")
    timeout_seconds: float

    @classmethod
    def of(cls, tool: Tool) -> "ToolView":
        return cls(
            name=tool.name,
            description=tool.description,
            input_schema=dict(tool.arguments.schema),
            repeatable=tool.repeatable,
            timeout_seconds=tool.timeout,
        )


class ToolList(BaseModel):
    data: list[ToolView]


class Execution(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    arguments: dict[str, Any] = Field(default_factory=dict, description="As the tool's input_schema has it.")
    collection: str | None = Field(
        None, description="What the tool may search; for keys that also have the scope documents:read."
    )


class Executed(BaseModel):
    """``truncated``: the result was too long, and is the text that was left of it."""

    result: JsonValue
    duration_ms: float
    truncated: bool


@router.get("", response_model=ToolList)
async def list_tools(request: Request) -> Response:
    """By name."""
    await principal(request, SCOPE)
    view = ToolList(data=[ToolView.of(tool) for tool in gateway_of(request).tools.listed])
    return JsonResponse(view.model_dump(mode="json"))


@router.post("/{name}", response_model=Executed, openapi_extra=described(Execution))
async def run_tool(request: Request, name: str) -> Response:
    """Run a tool for the key's own tenant: 404 for an unknown one, 400 for arguments that do not fit or that it
    refuses, 502 when it fails or takes too long. Counts as a request of the key."""
    caller = await principal(request, SCOPE)
    gateway = gateway_of(request)
    body = await read_model(request, Execution)
    if body.collection is not None:
        require(caller, "documents:read")
        check_name("collection", body.collection)
    if not gateway.admit():
        raise Overloaded("the gateway has all the calls in flight that it takes", retry_after=1)
    begun = gateway.clock.monotonic()
    try:
        result = await _run(gateway, caller, name, body)
    finally:
        gateway.release()
    duration = round((gateway.clock.monotonic() - begun) * 1000, 3)
    return JsonResponse({"result": msgspec.Raw(result.json), "duration_ms": duration, "truncated": result.cut})


async def _run(gateway: Gateway, caller: Principal, name: str, body: Execution) -> Result:
    call_id, collection = new_id("tool", gateway.clock), body.collection or ""
    await gateway.limits.limits.admit(_counted(gateway, caller, call_id))
    epoch = await gateway.epochs.current(caller.tenant, collection) if collection else ""
    context = gateway.tools.context(caller.tenant, call_id, collection, epoch)
    return await gateway.tools.execute(name, _json(body.arguments), context)


def _counted(gateway: Gateway, caller: Principal, call_id: str) -> Call:
    now = gateway.clock.now()
    return Call(
        id=call_id, tenant=caller.tenant, key_id=caller.key_id, limits=caller.limits, received_at=now, kind="tool"
    )


def _json(arguments: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(arguments)
