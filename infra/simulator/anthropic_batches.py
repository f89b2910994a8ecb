"""Anthropic's message batches, in the shapes that the ``anthropic`` 2.x SDK parses.

Source of the shapes: the SDK's own types (``anthropic.types.messages.MessageBatch`` and its results).
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .answering import World
from .anthropic_wire import AnthropicDialect, read_messages
from .batches import Batch, BatchDesk, Item, Outcome
from .wire import Refusal, decode

MAX_REQUESTS = 100_000
_WINDOW = 86_400


class Entry(msgspec.Struct):
    custom_id: str
    params: dict[str, Any]


class BatchRequest(msgspec.Struct):
    requests: list[Entry]


class AnthropicBatches:
    """The endpoints of message batches."""

    def __init__(self, world: World) -> None:
        self._dialect = AnthropicDialect()
        self._desk = BatchDesk(world, "anthropic", read_messages)

    def routes(self) -> list[Route]:
        base = "/v1/messages/batches"
        return [
            Route(base, self._guarded(self._create), methods=["POST"]),
            Route(base, self._guarded(self._list), methods=["GET"]),
            Route(f"{base}/{{id}}", self._guarded(self._retrieve), methods=["GET"]),
            Route(f"{base}/{{id}}/cancel", self._guarded(self._cancel), methods=["POST"]),
            Route(f"{base}/{{id}}/results", self._guarded(self._results), methods=["GET"]),
        ]

    def _guarded(self, work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                if not self._dialect.key(request.scope["headers"]):
                    raise Refusal(401, "x-api-key header is required")
                return await work(request)
            except Refusal as refusal:
                body = self._dialect.error(refusal, "req_0")
                return Response(body, refusal.status, media_type="application/json")

        return answer

    async def _create(self, request: Request) -> Response:
        asked = decode(await request.body(), BatchRequest)
        if len(asked.requests) > MAX_REQUESTS:
            raise Refusal(400, f"requests: at most {MAX_REQUESTS} are allowed", "requests")
        batch = self._desk.take("msgbatch_", [Item(entry.custom_id, entry.params) for entry in asked.requests])
        return _json(self._shown(batch, request))

    async def _list(self, request: Request) -> Response:
        limit = min(1000, int(request.query_params.get("limit", "20")))
        found = [self._shown(batch, request) for batch in self._desk.newest_first()]
        if after := request.query_params.get("after_id"):
            place = next((number for number, row in enumerate(found) if row["id"] == after), len(found))
            found = found[place + 1 :]
        page = found[:limit]
        return _json({
            "data": page, "has_more": len(found) > limit,
            "first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None,
        })  # fmt: skip

    async def _retrieve(self, request: Request) -> Response:
        return _json(self._shown(self._desk.find(request.path_params["id"]), request))

    async def _cancel(self, request: Request) -> Response:
        return _json(self._shown(self._desk.cancel(request.path_params["id"]), request))

    async def _results(self, request: Request) -> Response:
        batch = self._desk.find(request.path_params["id"])
        if not self._desk.has_ended(batch):
            raise Refusal(404, "The results of this batch are not available yet.")
        lines = b"".join(msgspec.json.encode(_line(outcome)) + b"\n" for outcome in self._desk.outcomes(batch))
        return Response(lines, media_type="application/binary")

    def _shown(self, batch: Batch, request: Request) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": _counts(processing=len(batch.items)),
            "created_at": _time(batch.created),
            "expires_at": _time(batch.created + _WINDOW),
            "ended_at": None,
            "archived_at": None,
            "cancel_initiated_at": None if batch.cancelled_at is None else _time(batch.cancelled_at),
            "results_url": None,
        }
        if not self._desk.has_ended(batch):
            return shown
        fates = Counter(outcome.fate for outcome in self._desk.outcomes(batch))
        return shown | {
            "processing_status": "ended",
            "request_counts": _counts(**{str(fate): count for fate, count in fates.items()}),
            "ended_at": _time(batch.ends),
            "results_url": f"{str(request.base_url).rstrip('/')}/v1/messages/batches/{batch.id}/results",
        }


def _line(outcome: Outcome) -> dict[str, Any]:
    result: dict[str, Any] = {"type": outcome.fate}
    if outcome.fate == "succeeded":
        result["message"] = outcome.answer
    elif outcome.fate == "errored":
        kind = "invalid_request_error" if outcome.status < 500 else "api_error"
        result["error"] = {"type": "error", "error": {"type": kind, "message": outcome.message}, "request_id": None}
    return {"custom_id": outcome.custom_id, "result": result}


def _counts(**found: int) -> dict[str, int]:
    return {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0} | found


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
