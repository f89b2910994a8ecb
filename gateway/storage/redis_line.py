"""One connection that all callers share: what is asked in one tick of the event loop goes out in one write.

A command costs its caller a future instead of a connection, a task and a timer of its own. For short commands that may
be lost or made twice: a GET, a SET, a script of a few operations. Replies come in the order of the commands (Redis'
pipelining), so nobody waits for an earlier exchange to end before asking.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any, cast

import hiredis
from redis._parsers.base import BaseParser
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.storage.redis_store import REDIS_TROUBLE

MAX_WAITING = 10_000
UNHURRIED = 0.003
"""Seconds for which a command that nobody waits for looks for company."""

Argument = bytes | str | int | float


class Script:
    """A Lua script under its SHA-1, which is how Redis names it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


class _Asked:
    __slots__ = ("answer", "command", "script", "sent_at")

    def __init__(
        self, command: Sequence[Argument], answer: "asyncio.Future[Any]", script: Script | None = None
    ) -> None:
        self.command = command
        self.answer = answer
        self.script = script
        self.sent_at = 0.0


class RedisLine:
    """For one event loop. ``timeout`` (seconds) bounds connecting, and the time until the oldest command is answered.

    When it runs out, the connection is given up, and with it all that was asked over it: a silent server costs its
    callers one time-out, however many wait.
    """

    def __init__(self, redis: Redis, *, timeout: float) -> None:
        self._pool = redis.connection_pool
        self._timeout = timeout
        self._wire: _Wire | None = None
        self._waiting: list[_Asked] = []
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting = False

    def ask(self, *command: Argument) -> "asyncio.Future[Any]":
        """The reply to come. It raises one of ``REDIS_TROUBLE``; an error that Redis replies with is among them."""
        return self._put(command, None)

    def run(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, hurried: bool = True
    ) -> "asyncio.Future[Any]":
        """As ``ask``, for a script; one that the server has forgotten is sent along in a second exchange.

        One that is not ``hurried`` goes with the next command that is, before it, or after ``UNHURRIED`` seconds: to
        wake a server that sleeps costs as much as all else about a command, and an answer may be on its way.
        """
        return self._put(("EVALSHA", script.sha, len(keys), *keys, *args), script, hurried)

    def _put(self, command: Sequence[Argument], script: Script | None, hurried: bool = True) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if len(self._waiting) + (len(self._wire.sent) if self._wire else 0) >= MAX_WAITING:
            answer.set_exception(RedisConnectionError("too many commands wait for Redis"))
            return answer
        self._waiting.append(_Asked(command, answer, script))
        if not hurried:
            loop.call_later(UNHURRIED, self._depart_at_last)
        elif not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._depart)
        return answer

    def _depart_at_last(self) -> None:
        if self._waiting:
            self._depart()

    def _depart(self) -> None:
        self._scheduled = False
        if self._wire is not None:
            batch, self._waiting = self._waiting, []
            self._wire.send(batch)
        elif not self._connecting:
            self._connecting = True
            self._begin(self._connect())

    async def _connect(self) -> None:
        connection: AbstractConnection | None = None
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
            wire = _Wire(connection, self._timeout, self._settle, self._lost)
        except BaseException as trouble:
            if connection is not None:
                await self._discard(connection)
            known = trouble if isinstance(trouble, REDIS_TROUBLE) else RedisConnectionError("Redis was not asked")
            waiting, self._waiting = self._waiting, []
            _fail(waiting, known)
            if not isinstance(trouble, REDIS_TROUBLE):
                raise
        else:
            self._wire = wire
        finally:
            self._connecting = False
        if self._waiting:
            self._depart()

    def _settle(self, asked: _Asked, reply: Any) -> None:
        if isinstance(reply, ReadOnlyError) and self._wire is not None:
            self._wire.close()  # this master has become a replica: the next connection looks for the new one
        if asked.answer.done():  # its caller has left
            return
        if isinstance(reply, NoScriptError) and asked.script is not None:
            self._waiting.append(_Asked(("EVAL", asked.script.text, *asked.command[2:]), asked.answer))
            self._depart()
        elif isinstance(reply, Exception):
            asked.answer.set_exception(reply)
        else:
            asked.answer.set_result(reply)

    def _lost(self, wire: "_Wire") -> None:
        if self._wire is wire:
            self._wire = None
        self._begin(self._discard(wire.connection))

    def _begin(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name="redis line")
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)

    async def _discard(self, connection: AbstractConnection) -> None:
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)


class _Wire(asyncio.Protocol):
    """A connection of the pool (which knows addresses, passwords, TLS and greetings) whose socket we read ourselves.

    The library's own way through stream, task and time-out costs several times what the command itself does.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        timeout: float,
        settle: Callable[[_Asked, Any], None],
        lost: Callable[["_Wire"], None],
    ) -> None:
        self.connection = connection
        self.sent: deque[_Asked] = deque()
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._settle = settle
        self._lost = lost
        self._reader = hiredis.Reader(replyError=BaseParser.parse_error, notEnoughData=_NOT_YET)
        self._told: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        writer = connection._writer  # there is no public way to it
        if writer is None:
            raise RedisConnectionError("Redis has closed the connection")
        self._transport = cast(asyncio.Transport, writer.transport)
        self._before = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def send(self, batch: list[_Asked]) -> None:
        now = self._loop.time()
        commands = []
        for asked in batch:
            command = asked.command
            if asked.script is not None and asked.script.sha not in self._told:
                # In full the first time: asked again after a NOSCRIPT it would come behind what was asked later.
                self._told.add(asked.script.sha)
                command = ("EVAL", asked.script.text, *command[2:])
            try:
                commands.append(hiredis.pack_command(cast(Any, tuple(command))))
            except (TypeError, UnicodeError) as error:
                _fail([asked], RedisConnectionError(f"a command that cannot be sent: {type(error).__name__}"))
                continue
            asked.sent_at = now
            self.sent.append(asked)
        self._transport.write(b"".join(commands))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._check)

    def data_received(self, data: bytes) -> None:
        reader, sent = self._reader, self.sent
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _NOT_YET:
                if not sent:
                    raise hiredis.ProtocolError("a reply that nobody asked for")
                self._settle(sent.popleft(), reply)
        except hiredis.HiredisError as error:
            self.close(RedisConnectionError(f"Redis is out of step: {error}"))

    def eof_received(self) -> None:
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._before.connection_lost(exc)  # whoever closes the pool waits for that
        self.close()

    def close(self, trouble: Exception | None = None) -> None:
        """Everybody who waits is told of ``trouble``."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._transport.abort()
        waiting = list(self.sent)
        self.sent.clear()
        _fail(waiting, trouble or RedisConnectionError("Redis has closed the connection"))
        self._lost(self)

    def _check(self) -> None:
        self._timer = None
        if not self.sent:
            return
        left = self.sent[0].sent_at + self._timeout - self._loop.time()
        if left <= 0:
            self.close(RedisTimeoutError(f"Redis did not answer within {self._timeout:g} s"))
        else:
            self._timer = self._loop.call_later(left, self._check)


_NOT_YET = object()


def _fail(asked: Sequence[_Asked], trouble: Exception) -> None:
    for one in asked:
        if not one.answer.done():
            one.answer.set_exception(trouble)
