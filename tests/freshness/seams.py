"""Where the process ends, everything waits until it is told to go on: what is sent takes effect, then it is answered.

Nothing runs by itself, so whoever lets the held operations go on, one by one, decides the interleaving, down to every
await of the code under test. Redis is real, and so is SQL; what takes turns are the commands and the transactions.
"""

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis

from gateway.storage.redis_connection import _GUARD, GENERATION_KEY, RUN_ID_KEY
from gateway.storage.redis_line import Script


class Held:
    """An operation. ``effect`` runs once it goes on; ``answer`` tells its caller."""

    def __init__(self, effect: Callable[[], Any], answer: Callable[[Any, BaseException | None], None]) -> None:
        self._effect = effect
        self._answer = answer
        self._outcome: tuple[Any, BaseException | None] | None = None

    def take_effect(self) -> None:
        if self._outcome is None:
            try:
                self._outcome = self._effect(), None
            except Exception as error:
                self._outcome = None, error

    def lose(self, error: BaseException) -> None:
        """Whether or not it has taken effect, its caller hears of the error."""
        self._outcome = None, error

    def answer(self) -> None:
        self.take_effect()
        assert self._outcome is not None
        self._answer(*self._outcome)


class Gate:
    """All that is held, oldest first."""

    def __init__(self) -> None:
        self.held: list[Held] = []

    def hold(self, effect: Callable[[], Any]) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answer(value: Any, error: BaseException | None) -> None:
            if not future.done():
                future.set_result(value) if error is None else future.set_exception(error)
                future.exception()  # whoever asked may have left

        self.held.append(Held(effect, answer))
        return future


class Server:
    """A real Redis, asked synchronously. ``crash`` puts an older state back, as a lost append-only file would."""

    def __init__(self, url: str, gate: Gate) -> None:
        self._redis = redis.Redis.from_url(url, protocol=2)
        self._gate = gate
        self._mine: list[Held] = []
        self._greeted = False
        self._on_disk: dict[bytes, bytes] = {}

    def hold(self, effect: Callable[[], Any]) -> "asyncio.Future[Any]":
        future = self._gate.hold(lambda: self._greet() or effect())
        self._mine.append(self._gate.held[-1])
        return future

    def do(self, *command: Any) -> "asyncio.Future[Any]":
        return self.hold(lambda: self._redis.execute_command(*command))

    def run(self, text: str, keys: Sequence[Any], args: Sequence[Any]) -> "asyncio.Future[Any]":
        return self.hold(lambda: self._redis.eval(text, len(keys), *keys, *args))

    def flush_to_disk(self) -> None:
        names: Any = self._redis.keys()
        self._on_disk = {name: bytes(self._redis.dump(name) or b"") for name in names}  # type: ignore[arg-type]

    def crash(self) -> None:
        """Whoever waits for an answer hears that the connection broke; what was not on disk is forgotten."""
        for one in self._mine:
            if one in self._gate.held:
                one.lose(redis.ConnectionError("the server died"))
        self._mine.clear()
        self._redis.flushall()
        for name, value in self._on_disk.items():
            self._redis.restore(name, 0, value)
        self._redis.set(RUN_ID_KEY, "an earlier run")
        self._greeted = False

    def empty(self) -> None:
        self._redis.flushall()
        self._greeted = False

    def forget(self) -> None:
        """For the next example."""
        self.empty()
        self._mine.clear()
        self._on_disk.clear()

    def close(self) -> None:
        self._redis.close()

    def _greet(self) -> None:
        """What a guarded connection does before its first command."""
        if not self._greeted:
            self._redis.eval(_GUARD, 2, RUN_ID_KEY, GENERATION_KEY, f"{id(object()):x}{self._redis.time()[1]}")
            self._greeted = True


class HeldLine:
    """A ``Line`` whose commands wait."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def ask(self, *command: Any) -> "asyncio.Future[Any]":
        return self._server.do(*command)

    def run(
        self, script: Script, keys: Sequence[str], args: Sequence[Any], *, hurried: bool = True
    ) -> "asyncio.Future[Any]":
        return self._server.run(script.text, keys, args)


class HeldRedis:
    """The few methods of a client that writers of epochs and cuts use."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def hset(self, name: str, field: str, value: str) -> Any:
        return await self._server.do("HSET", name, field, value)

    async def hdel(self, name: str, field: str) -> Any:
        return await self._server.do("HDEL", name, field)

    async def set(self, name: str, value: str) -> Any:
        return await self._server.do("SET", name, value)

    def register_script(self, text: str) -> Callable[..., Awaitable[Any]]:
        async def script(keys: Sequence[str], args: Sequence[Any]) -> Any:
            return await self._server.run(text, keys, args)

        return script


class HeldThreads(concurrent.futures.ThreadPoolExecutor):
    """What is given to a thread waits as well, and then runs here: transactions are atomic, as SQL makes them."""

    def __init__(self, gate: Gate, after: Callable[[], None]) -> None:
        """``after`` is called when one of them has run."""
        super().__init__(max_workers=1)
        self._gate = gate
        self._after = after

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "concurrent.futures.Future[Any]":
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def effect() -> Any:
            try:
                return fn(*args, **kwargs)
            finally:
                self._after()

        def answer(value: Any, error: BaseException | None) -> None:
            if future.set_running_or_notify_cancel():
                future.set_result(value) if error is None else future.set_exception(error)

        self._gate.held.append(Held(effect, answer))
        return future
