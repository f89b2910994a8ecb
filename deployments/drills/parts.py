"""Real parts, each with what protects it left out. Only drills use them."""

import asyncio
import itertools
from collections.abc import Awaitable, Sequence
from typing import Any

from msgspec import structs
from redis.asyncio import ConnectionPool, Redis

from gateway import ports
from gateway.cache.coalesce import Coalescer, Seat, Work
from gateway.cache.exact import ExactCache
from gateway.storage.redis_line import Argument, Script
from gateway.trail import Trail
from gateway.types import CachePolicy, Call, Candidate, Reply


class Alone:
    """A coalescer in which no two calls are ever the same."""

    def __init__(self) -> None:
        self._flights = Coalescer()
        self._numbers = itertools.count()

    def board(self, key: str, work: Work, trail: Trail) -> Seat:
        return self._flights.board(f"{key}#{next(self._numbers)}", work, trail)

    def __contains__(self, key: str) -> bool:
        return False

    async def settle(self) -> None:
        await self._flights.settle()

    def __len__(self) -> int:
        return len(self._flights)


class Unchanging:
    """Epochs that no change of documents touches: what was kept once stays valid."""

    async def current(self, tenant: str, collection: str) -> str:
        return "unchanging"


class ReadingAnew:
    """A retriever that finds today's documents, whatever epoch the call believes in."""

    def __init__(self, retriever: ports.Retriever, epochs: ports.Epochs) -> None:
        self._retriever = retriever
        self._epochs = epochs

    async def find(
        self, tenant: str, collection: str, epoch: str, query: str, top_k: int, policy: CachePolicy
    ) -> ports.Retrieved:
        today = await self._epochs.current(tenant, collection)
        return await self._retriever.find(tenant, collection, today, query, top_k, policy)


class Forgetful:
    """A cache whose keys say neither who asks nor with which parameters."""

    def __init__(self, cache: ExactCache) -> None:
        self._cache = cache

    async def find(self, call: Call, epoch: Awaitable[str] | None = None) -> ports.Found:
        return await self._cache.find(_without_parts(call), epoch)

    async def keep(self, call: Call, reply: Reply, kept_on: Candidate | None = None) -> str:
        return await self._cache.keep(_without_parts(call), reply, kept_on)

    async def last_good(self, call: Call) -> Candidate | None:
        return None

    def key(self, call: Call) -> str:
        return self._cache.key(_without_parts(call))


class OwnConnections:
    """A line in which each command takes a connection of its own, however many there are, and waits for ever."""

    def __init__(self, url: str) -> None:
        self.redis = Redis.from_pool(ConnectionPool.from_url(url, max_connections=100_000, socket_timeout=None))

    def ask(self, *command: Argument) -> "asyncio.Future[Any]":
        return asyncio.ensure_future(self._ask(*command))

    def run(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, hurried: bool = True
    ) -> "asyncio.Future[Any]":
        return self.ask("EVAL", script.text, len(keys), *keys, *args)

    async def _ask(self, *command: Argument) -> Any:
        return await self.redis.execute_command(*command)  # type: ignore[no-untyped-call]


def _without_parts(call: Call) -> Call:
    return structs.replace(call, tenant="anybody", params={"temperature": 0})
