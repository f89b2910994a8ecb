"""Scripts over redis-py, one command a trip."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript


class RedisScripts:
    """``Scripts`` over one client. ``timeout`` (seconds) bounds a run, waiting for a connection included."""

    def __init__(self, redis: Redis, *, timeout: float) -> None:
        self._redis = redis
        self._timeout = timeout
        self._registered: dict[str, AsyncScript] = {}

    def run(self, script: str, keys: Sequence[str], args: Sequence[str | int | float]) -> Awaitable[Any]:
        task = asyncio.ensure_future(self._run(script, keys, args))
        task.add_done_callback(_retrieve)
        return task

    async def _run(self, script: str, keys: Sequence[str], args: Sequence[str | int | float]) -> Any:
        registered = self._registered.get(script)
        if registered is None:
            registered = self._registered[script] = self._redis.register_script(script)
        async with asyncio.timeout(self._timeout):
            return await registered(keys=keys, args=args)


def _retrieve(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()  # whoever started it may have gone
