"""What nobody expected: a structured error for the caller, a place without values for the log."""

import logging
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.api.chat import chat_completions
from gateway.api.responses import ContainDefects
from gateway.clock import ManualClock
from gateway.telemetry import Metrics
from gateway.types import Answer, Call, Delta, Principal

SECRET = "the-question-that-nobody-else-may-read"
BODY: dict[str, Any] = {"model": "gpt-4.1", "messages": [{"role": "user", "content": SECRET}]}


class Defect(Exception):
    pass


class BrokenPipeline:
    async def answer(self, call: Call) -> Answer:
        raise Defect(SECRET)

    async def stream(self, call: Call) -> AsyncGenerator[Delta | Answer, None]:
        if call.user == "at once":
            raise Defect(SECRET)
        yield Delta(delta={"content": "a"})
        raise Defect(SECRET)


class Doors:
    """A gateway of which only the doors are real."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.provider_names = frozenset({"openai"})
        self.pipeline = BrokenPipeline()
        self.settings = SimpleNamespace(max_body_bytes=1000)
        self.authenticator = self
        self.in_flight = 0

    async def authenticate(self, *_: str | None) -> Principal:
        return Principal("acme", "key_1", frozenset({"chat"}))

    def admit(self) -> bool:
        self.in_flight += 1
        return True

    def release(self) -> None:
        self.in_flight -= 1


async def broken(_request: Request) -> Response:
    raise Defect(SECRET)


async def breaks_off(_request: Request) -> Response:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"a"
        raise Defect(SECRET)

    return StreamingResponse(pieces())


def client(doors: Doors) -> httpx.AsyncClient:
    routes = [
        Route("/chat", chat_completions, methods=["POST"]),
        Route("/broken", broken),
        Route("/breaks-off", breaks_off),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(ContainDefects)])
    app.state.gateway = doors
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


def check_log(caplog: pytest.LogCaptureFixture) -> None:
    assert "unexpected Defect" in caplog.text
    assert "test_app.py" in caplog.text  # the place
    assert SECRET not in caplog.text


async def test_a_defect_is_a_structured_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with client(Doors()) as http:
            response = await http.get("/broken")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert SECRET not in response.text
    check_log(caplog)


async def test_a_defect_in_the_middle_of_an_answer_cuts_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with client(Doors()) as http:
            with pytest.raises(ConnectionAbortedError):
                await http.get("/breaks-off")
    check_log(caplog)


@pytest.mark.parametrize("more", [{}, {"stream": True, "user": "at once"}], ids=["whole", "stream"])
async def test_a_defect_in_the_pipeline_tells_the_call(more: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    doors = Doors()
    with caplog.at_level(logging.DEBUG):
        async with client(doors) as http:
            response = await http.post("/chat", json=BODY | more)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["retryable"]) == (500, "internal_error", False)
    assert error["call_id"].startswith("call_")
    assert error["call_id"] in caplog.text
    assert doors.in_flight == 0
    check_log(caplog)


async def test_a_defect_in_the_middle_of_a_stream_is_its_last_event(caplog: pytest.LogCaptureFixture) -> None:
    doors = Doors()
    with caplog.at_level(logging.DEBUG):
        async with client(doors) as http:
            response = await http.post("/chat", json=BODY | {"stream": True})
    assert response.status_code == 200
    assert '"internal_error"' in response.text
    assert '"partial":true' in response.text
    assert "[DONE]" not in response.text
    assert SECRET not in response.text
    assert doors.in_flight == 0
    check_log(caplog)
