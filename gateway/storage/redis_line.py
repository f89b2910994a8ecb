"""A few connections that all callers share: what is asked in one tick of the event loop goes out in one write.

A command costs its caller a future instead of a connection, a task and a timer of its own. For short commands that may
be lost or made twice: a GET, a SET, a script of a few operations.
"""

import asyncio
import math
from collections.abc import Sequence
from hashlib import sha1
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from gateway.storage.redis_store import REDIS_TROUBLE

MAX_WAITING = 10_000
_MAX_BATCH = 512

Argument = bytes | str | int | float


class Script:
    """A Lua script under its SHA-1, which is how Redis names it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


class _Asked:
    __slots__ = ("answer", "command", "script")

    def __init__(
        self, command: Sequence[Argument], answer: "asyncio.Future[Any]", script: Script | None = None
    ) -> None:
        self.command = command
        self.answer = answer
        self.script = script


class RedisLine:
    """For one event loop. ``timeout`` (seconds) bounds each exchange; while all connections are busy, what is asked
    meanwhile goes out together with the next one.
    """

    def __init__(self, redis: Redis, *, timeout: float, connections: int = 2) -> None:
        self._pool = redis.connection_pool
        self._timeout = timeout
        self._idle = connections
        self._free: list[AbstractConnection] = []
        self._waiting: list[_Asked] = []
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, *command: Argument) -> "asyncio.Future[Any]":
        """The reply to come. It raises one of ``REDIS_TROUBLE``; an error that Redis replies with is among them."""
        return self._put(command, None)

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> "asyncio.Future[Any]":
        """As ``ask``, for a script; one that the server does not know yet is sent along in a second exchange."""
        return self._put(("EVALSHA", script.sha, len(keys), *keys, *args), script)

    def _put(self, command: Sequence[Argument], script: Script | None) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if len(self._waiting) >= MAX_WAITING:
            answer.set_exception(RedisConnectionError("too many commands wait for Redis"))
            return answer
        self._waiting.append(_Asked(command, answer, script))
        if self._idle and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._depart)
        return answer

    def _depart(self) -> None:
        self._scheduled = False
        if not self._idle or not self._waiting:
            return
        self._idle -= 1
        task = asyncio.create_task(self._work(), name="redis line")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
                await self._exchange(batch)
        finally:
            self._idle += 1

    async def _exchange(self, batch: list[_Asked]) -> None:
        connection: AbstractConnection | None = None
        try:
            async with asyncio.timeout(self._timeout):
                connection = self._free.pop() if self._free else await self._pool.get_connection()  # type: ignore[no-untyped-call]
                # Something to read before anything was asked: the server has closed it, or is out of step with us.
                if connection.is_connected and await connection.can_read():
                    await connection.disconnect(nowait=True)
                packed = connection.pack_commands([asked.command for asked in batch])
                await connection.send_packed_command(packed, check_health=False)
                for asked in batch:
                    self._settle(asked, await _reply(connection))
        except BaseException as trouble:
            if connection is not None:
                await self._discard(connection)
            known = trouble if isinstance(trouble, REDIS_TROUBLE) else RedisConnectionError("Redis was not asked")
            # Who waited through the trouble is told as well: otherwise each exchange would add a time-out to theirs.
            waiting, self._waiting = self._waiting, []
            for asked in (*batch, *waiting):
                if not asked.answer.done():
                    asked.answer.set_exception(known)
            if not isinstance(trouble, REDIS_TROUBLE):
                raise
        else:
            self._free.append(connection)

    def _settle(self, asked: _Asked, reply: Any) -> None:
        if asked.answer.done():  # its caller has left
            return
        if isinstance(reply, NoScriptError) and asked.script is not None:
            self._waiting.insert(0, _Asked(("EVAL", asked.script.text, *asked.command[2:]), asked.answer))
        elif isinstance(reply, Exception):
            asked.answer.set_exception(reply)
        else:
            asked.answer.set_result(reply)

    async def _discard(self, connection: AbstractConnection) -> None:
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)


async def _reply(connection: AbstractConnection) -> Any:
    """An error that Redis replies with is returned: it belongs to one command, not to the connection."""
    try:
        return await connection.read_response(timeout=math.inf)  # the exchange has a time-out of its own
    except ResponseError as error:
        return error
