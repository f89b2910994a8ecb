"""A model provider that counts: it answers after a set time and says what it was asked with."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web


class Upstream:
    """``seconds`` is how long an answer takes. ``calls`` and ``most_at_once`` count since the last ``reset``."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.url = ""
        self.reset()

    def reset(self) -> None:
        self.calls = self.most_at_once = self._now = 0

    async def answer(self, request: web.Request) -> web.Response:
        """A chat completion: its number, the parameters that came, and the first message."""
        body = await request.json()
        self.calls += 1
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        number = self.calls
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self._now -= 1
        return web.json_response(_completion(number, body))


@contextlib.asynccontextmanager
async def upstream(seconds: float) -> AsyncIterator[Upstream]:
    """Runs on a free port of the loopback, in this event loop."""
    provider = Upstream(seconds)
    app = web.Application(client_max_size=10_000_000)
    app.router.add_post("/v1/chat/completions", provider.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
        await site.start()
        provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield provider
    finally:
        await runner.cleanup()


def _completion(number: int, body: dict[str, Any]) -> dict[str, Any]:
    params = {name: value for name, value in body.items() if name not in ("messages", "model")}
    said = f"#{number} {json.dumps(params, sort_keys=True)} {body['messages'][0].get('content')}"
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 400, "completion_tokens": 100, "total_tokens": 500},
    }
