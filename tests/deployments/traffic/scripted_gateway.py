"""A gateway that answers by a script, on loopback: what the player meets on good and bad days."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[[int, dict[str, Any]], tuple[int, dict[str, Any]]]


def answered(number: int, text: str, **told: Any) -> tuple[int, dict[str, Any]]:
    """A chat completion as the gateway gives it."""
    provenance = {
        "call_id": f"call_{number}",
        "version": "1.0.0",
        "arm": "stable",
        "cache": {"layer": "none"},
        "provider": "openai",
        "cost_usd": 0.001,
    }
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    completion = {"id": f"call_{number}", "object": "chat.completion", "created": 1, "model": "small"}
    return 200, completion | {"choices": [choice], "promptyard": provenance | told}


def refused(status: int, code: str) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"code": code, "message": "no", "hint": "Wait.", "call_id": None, "retryable": True}}


@dataclass
class ScriptedGateway:
    """``asked``: bodies of the questions in order of arrival; ``feedback``: bodies of what users said."""

    script: Answer = lambda number, body: answered(number, "Within 30 days.")
    feedback_status: int = 202
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    in_flight: int = 0
    most_in_flight: int = 0

    @property
    def questions(self) -> list[tuple[str, str]]:
        return [(body["user"], body["variables"]["question"]) for body in self.asked]

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        self.keys.add(request.headers["authorization"])
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)  # lets the other workers in
        status, answer = self.script(len(self.asked) - 1, body)
        self.in_flight -= 1
        return web.json_response(answer, status=status)

    async def rate(self, request: web.Request) -> web.Response:
        self.feedback.append(await request.json())
        return web.json_response({"status": "accepted"}, status=self.feedback_status)


@asynccontextmanager
async def serve(gateway: ScriptedGateway) -> AsyncIterator[ScriptedGateway]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", gateway.chat)
    app.router.add_post("/v1/feedback", gateway.rate)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield gateway
    finally:
        await runner.cleanup()
