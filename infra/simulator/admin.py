"""The admin endpoints: which faults are in force, and how often each provider was called."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from .answering import World
from .faults import FaultRule


class RuleList(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``PUT /admin/faults``; a bare list of rules, or a single rule, is taken as well."""

    rules: list[FaultRule]


class AdminEndpoints:
    """Reads and changes the world that the provider endpoints live in."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def faults(self, request: Request) -> Response:
        """GET: the rules. PUT: replaces them; 400 names the mistake and changes nothing. DELETE: removes them all."""
        if request.method == "PUT":
            try:
                self._world.board.replace(_read_rules(await request.body()))
            except (msgspec.DecodeError, ValueError) as error:
                return _json({"error": {"code": "invalid_faults", "message": str(error)}}, 400)
        elif request.method == "DELETE":
            self._world.board.replace(())
        return _json({"rules": self._world.board.rules})

    async def stats(self, request: Request) -> Response:
        """GET: calls by provider, endpoint, model and status. DELETE: counts from zero."""
        if request.method == "DELETE":
            self._world.counts.clear()
        return _json(self._world.counts.report())


def _read_rules(body: bytes) -> list[FaultRule]:
    text = body.strip()
    if text.startswith(b"["):
        return msgspec.json.decode(text, type=list[FaultRule])
    if b'"rules"' in text:
        return msgspec.json.decode(text, type=RuleList).rules
    return [msgspec.json.decode(text, type=FaultRule)]


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
