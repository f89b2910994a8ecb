"""Who is calling, and how large a body they may send."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from gateway.api.patience import Patience
from gateway.api.responses import complaint
from gateway.auth.authenticator import require
from gateway.errors import BodyTooLarge, ClientGone, InvalidRequest, MalformedBody, RequestTimeout
from gateway.types import Principal

if TYPE_CHECKING:
    from gateway.compose import Gateway

Model = TypeVar("Model", bound=BaseModel)

BODY_SECONDS = 30.0
"""A body that takes longer to arrive is refused."""
BODIES = Patience(BODY_SECONDS)
MAX_DEPTH = 64
"""Objects and lists in one another, the body included: whatever walks a value further on may recurse."""


def gateway_of(request: Request) -> "Gateway":
    return cast("Gateway", request.app.state.gateway)


async def principal(request: Request, scope: str) -> Principal:
    """Raises Unauthenticated or Forbidden, or StorageUnavailable for an unknown key while SQL is down."""
    headers = request.headers
    known = await gateway_of(request).authenticator.authenticate(headers.get("authorization"), headers.get("x-api-key"))
    require(known, scope)
    return known


async def read_body(request: Request, patience: Patience = BODIES) -> bytes:
    """Raises RequestTimeout, ClientGone, and BodyTooLarge once the bound is passed, whatever Content-Length says."""
    limit = gateway_of(request).settings.max_body_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(f"the body has {declared} bytes, {limit} are allowed")
    pieces: list[bytes] = []
    size = 0
    try:
        async with patience.wait():
            async for piece in request.stream():
                size += len(piece)
                if size > limit:
                    raise BodyTooLarge(f"the body has more than {limit} bytes")
                pieces.append(piece)
    except TimeoutError:
        raise late_body() from None
    except ClientDisconnect:
        raise ClientGone("the caller left before its body had arrived") from None
    return b"".join(pieces)


def late_body() -> RequestTimeout:
    return RequestTimeout(f"the body did not arrive within {BODY_SECONDS:g} s")


async def read_json(request: Request) -> Mapping[str, Any]:
    """The body as a JSON object. Raises MalformedBody, BodyTooLarge, RequestTimeout, ClientGone."""
    return decode_object(await read_body(request))


def decode_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object that the bytes spell, at most ``MAX_DEPTH`` levels deep. Raises MalformedBody."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedBody("the body is JSON, but not an object")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise MalformedBody(
            f"the body is nested more than {MAX_DEPTH} levels deep", hint="Send flatter lists and objects."
        )
    return value


def _deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists are nested more than ``levels`` deep; level by level, so that nothing overflows."""
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


async def read_model(request: Request, model: type[Model]) -> Model:
    """The body as ``model``. Call it after ``principal``: who has no key may not make us read a body.

    Raises what ``read_json`` raises, and InvalidRequest that names the field and never its value.
    """
    return checked(await read_json(request), model)


def checked(value: Mapping[str, Any], model: type[Model]) -> Model:
    """The value as ``model``. Raises InvalidRequest that names the field and never its value."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidRequest(f"{where[:100]}: {complaint(first)}") from None


def described(model: type[BaseModel]) -> dict[str, Any]:
    """``openapi_extra`` of a route that reads its body by ``read_model``."""
    schema = model.model_json_schema()
    schema = _inlined(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Models within models in place of references, which would point to nothing inside of an OpenAPI document."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items() if name != "discriminator"}
