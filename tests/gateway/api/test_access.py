"""What a body may be before any endpoint looks at it; and a caller who leaves while sending it."""

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.types import Message

from gateway.api.access import MAX_DEPTH, decode_object, read_body, read_json
from gateway.api.patience import Patience
from gateway.api.responses import ContainDefects, on_promptyard_error
from gateway.errors import ClientGone, MalformedBody, PromptyardError, RequestTimeout


def lists(levels: int, core: str = "1") -> str:
    return "[" * levels + core + "]" * levels


@pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 1, 500, 800, 960, 100_000])
@pytest.mark.parametrize("core", ["1", "1" + "0" * 30, '{"a": []}'])
def test_a_body_that_is_nested_too_deep_is_refused(levels: int, core: str) -> None:
    with pytest.raises(MalformedBody) as refused:
        decode_object(f'{{"a": {lists(levels, core)}}}'.encode())
    assert len(refused.value.message) < 200


def test_a_body_at_the_bound_is_read_as_it_is() -> None:
    text = f'{{"a": {lists(MAX_DEPTH - 1)}}}'
    assert decode_object(text.encode()) == json.loads(text)


def test_brackets_in_a_text_and_side_by_side_nest_nothing() -> None:
    body = {"text": "[{" * 5_000, "rows": [[{}] for _ in range(5_000)]}
    assert decode_object(json.dumps(body).encode()) == body


def small_app(seen: list[Exception]) -> FastAPI:
    app = FastAPI()
    app.state.gateway = SimpleNamespace(settings=SimpleNamespace(max_body_bytes=1_000))

    async def noted(request: Request, error: Exception) -> Any:
        seen.append(error)
        app.state.gateway.metrics = SimpleNamespace(refused=SimpleNamespace(labels=lambda _: _Counter()))
        return await on_promptyard_error(request, error)

    app.add_exception_handler(PromptyardError, noted)
    app.add_middleware(ContainDefects)

    @app.put("/thing")
    async def put(request: Request) -> dict[str, Any]:
        return dict(await read_json(request))

    return app


class _Counter:
    def inc(self) -> None:
        """Counts nothing."""


async def test_who_leaves_before_the_body_has_arrived_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b'{"a":', "more_body": True},
        {"type": "http.disconnect"},
    ]
    seen: list[Exception] = []
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": "/thing",
        "raw_path": b"/thing",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    with caplog.at_level(logging.DEBUG):
        await asyncio.wait_for(small_app(seen)(scope, receive, send), 5)
    assert [type(error) for error in seen] == [ClientGone]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_whole_body_is_read() -> None:
    transport = httpx.ASGITransport(small_app([]))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert (await client.put("/thing", json={"a": 1})).json() == {"a": 1}
        assert (await client.put("/thing", content=b"x" * 1_001)).status_code == 413


async def test_a_body_that_stops_arriving_is_given_up() -> None:
    sent = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Message:
        if sent:
            return sent.pop()
        await asyncio.Event().wait()
        raise AssertionError("nothing more arrives")

    scope = {"type": "http", "method": "PUT", "headers": [(b"content-length", b"9")], "app": small_app([])}
    with pytest.raises(RequestTimeout):
        await asyncio.wait_for(read_body(Request(scope, receive), Patience(0.01)), timeout=5)
