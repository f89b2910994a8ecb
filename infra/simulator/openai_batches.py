"""OpenAI's files and batches, as far as a batch needs them, in the shapes that the ``openai`` 3.x SDK parses.

Source of the shapes: the SDK's own types (``openai.types.Batch``, ``openai.types.FileObject``) and
https://platform.openai.com/docs/guides/batch.
"""

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .answering import MAX_BODY_BYTES, World
from .batches import Batch, BatchDesk, Item, Outcome
from .openai_wire import OpenAIDialect, read_chat
from .wire import Refusal, decode

MAX_REQUESTS = 50_000
MAX_FILES = 2_000
ENDPOINT = "/v1/chat/completions"
_WINDOW = 86_400
_ERROR_CODES = {"expired": "batch_expired", "canceled": "batch_cancelled"}


class BatchRequest(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


class Line(msgspec.Struct):
    """A line of the input file."""

    custom_id: str
    method: str
    url: str
    body: dict[str, Any]


class File(msgspec.Struct):
    id: str
    name: str
    purpose: str
    content: bytes
    created: int


class OpenAIBatches:
    """The endpoints of files and batches."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dialect = OpenAIDialect()
        self._desk = BatchDesk(world, "openai", read_chat)
        self._files: OrderedDict[str, File] = OrderedDict()

    def routes(self) -> list[Route]:
        return [
            Route("/v1/files", self._guarded(self._upload), methods=["POST"]),
            Route("/v1/files/{id}", self._guarded(self._file), methods=["GET"]),
            Route("/v1/files/{id}/content", self._guarded(self._content), methods=["GET"]),
            Route("/v1/batches", self._guarded(self._create), methods=["POST"]),
            Route("/v1/batches", self._guarded(self._list), methods=["GET"]),
            Route("/v1/batches/{id}", self._guarded(self._retrieve), methods=["GET"]),
            Route("/v1/batches/{id}/cancel", self._guarded(self._cancel), methods=["POST"]),
        ]

    def _guarded(self, work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                if not self._dialect.key(request.scope["headers"]):
                    raise Refusal(401, "You didn't provide an API key.")
                return await work(request)
            except Refusal as refusal:
                body = self._dialect.error(refusal, "req_0")
                return Response(body, refusal.status, media_type="application/json")

        return answer

    async def _upload(self, request: Request) -> Response:
        fields = read_form(request.headers.get("content-type", ""), await request.body())
        if "file" not in fields or fields.get("purpose", ("", b""))[1] != b"batch":
            raise Refusal(400, "Expected a 'file' and the purpose 'batch'.", "purpose")
        name, content = fields["file"]
        if len(content) > MAX_BODY_BYTES:
            raise Refusal(413, f"The file is larger than {MAX_BODY_BYTES} bytes.")
        return _json(_shown_file(self._store(name, "batch", content)))

    async def _file(self, request: Request) -> Response:
        return _json(_shown_file(self._find_file(request.path_params["id"])))

    async def _content(self, request: Request) -> Response:
        return Response(self._find_file(request.path_params["id"]).content, media_type="application/octet-stream")

    async def _create(self, request: Request) -> Response:
        asked = decode(await request.body(), BatchRequest)
        if asked.endpoint != ENDPOINT:
            raise Refusal(400, f"Only {ENDPOINT} is supported.", "endpoint")
        if asked.completion_window != "24h":
            raise Refusal(400, "Invalid 'completion_window': only '24h' is supported.", "completion_window")
        lines = [
            decode(line, Line) for line in self._find_file(asked.input_file_id).content.splitlines() if line.strip()
        ]
        if len(lines) > MAX_REQUESTS:
            raise Refusal(400, f"A batch takes at most {MAX_REQUESTS} requests.", "input_file_id")
        if any(line.url != ENDPOINT or line.method != "POST" for line in lines):
            raise Refusal(400, "Every request must be a POST to the endpoint of the batch.", "input_file_id")
        batch = self._desk.take("batch_", [Item(line.custom_id, line.body) for line in lines])
        batch.metadata, batch.input_file = asked.metadata, asked.input_file_id
        return _json(self._shown(batch))

    async def _list(self, request: Request) -> Response:
        limit = min(100, int(request.query_params.get("limit", "20")))
        found = [self._shown(batch) for batch in self._desk.newest_first()]
        if after := request.query_params.get("after"):
            place = next((number for number, row in enumerate(found) if row["id"] == after), len(found))
            found = found[place + 1 :]
        page = found[:limit]
        return _json({
            "object": "list", "data": page, "has_more": len(found) > limit,
            "first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None,
        })  # fmt: skip

    async def _retrieve(self, request: Request) -> Response:
        return _json(self._shown(self._desk.find(request.path_params["id"])))

    async def _cancel(self, request: Request) -> Response:
        return _json(self._shown(self._desk.cancel(request.path_params["id"])))

    def _shown(self, batch: Batch) -> dict[str, Any]:
        created = int(batch.created)
        shown: dict[str, Any] = {
            "id": batch.id,
            "object": "batch",
            "endpoint": ENDPOINT,
            "model": batch.model,
            "input_file_id": batch.input_file,
            "completion_window": "24h",
            "created_at": created,
            "in_progress_at": created,
            "expires_at": created + _WINDOW,
            "metadata": batch.metadata,
            "status": "in_progress",
            "request_counts": {"total": len(batch.items), "completed": 0, "failed": 0},
        }
        if not self._desk.has_ended(batch):
            return shown
        outcomes = self._desk.outcomes(batch)
        fates = Counter(outcome.fate for outcome in outcomes)
        status = "cancelled" if batch.was_cancelled else "expired" if fates["expired"] else "completed"
        if not batch.files:
            done = [outcome for outcome in outcomes if outcome.fate == "succeeded"]
            not_done = [outcome for outcome in outcomes if outcome.fate != "succeeded"]
            for name, rows in (("output_file_id", done), ("error_file_id", not_done)):
                if rows:
                    batch.files[name] = self._store(f"{batch.id}.jsonl", "batch_output", _lines(batch, rows)).id
        counts = {
            "total": len(batch.items),
            "completed": fates["succeeded"],
            "failed": len(outcomes) - fates["succeeded"],
        }
        return shown | batch.files | {"status": status, f"{status}_at": int(batch.ends), "request_counts": counts}

    def _store(self, name: str, purpose: str, content: bytes) -> File:
        identity = f"file-{self._world.rng.getrandbits(96):024x}"
        self._files[identity] = File(identity, name, purpose, content, int(self._world.unix_time()))
        while len(self._files) > MAX_FILES:
            self._files.popitem(last=False)
        return self._files[identity]

    def _find_file(self, identity: str) -> File:
        if identity not in self._files:
            raise Refusal(404, f"No such File object: {identity}")
        return self._files[identity]


def read_form(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Fields of a ``multipart/form-data`` body as (file name, content). Raises `Refusal` 400."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    if not message.is_multipart():
        raise Refusal(400, "Expected multipart/form-data.")
    found: dict[str, tuple[str, bytes]] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            found[name] = (part.get_filename() or "", content)
    return found


def _lines(batch: Batch, rows: list[Outcome]) -> bytes:
    lines = []
    for number, row in enumerate(rows):
        ran = row.fate in ("succeeded", "errored")
        error = {"error": {"message": row.message, "type": "server_error", "param": None, "code": None}}
        response = {
            "status_code": row.status, "request_id": f"req_{number}", "body": row.answer if row.answer else error,
        }  # fmt: skip
        line = {
            "id": f"batch_req_{batch.id.removeprefix('batch_')}_{number}",
            "custom_id": row.custom_id,
            "response": response if ran else None,
            "error": None if ran else {"code": _ERROR_CODES[row.fate], "message": row.message},
        }
        lines.append(msgspec.json.encode(line) + b"\n")
    return b"".join(lines)


def _shown_file(file: File) -> dict[str, Any]:
    return {
        "id": file.id, "object": "file", "bytes": len(file.content), "created_at": file.created,
        "filename": file.name, "purpose": file.purpose, "status": "processed",
    }  # fmt: skip


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
