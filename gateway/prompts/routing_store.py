"""Where gateways and control plane meet about routes: the state Redis, and SQL behind it.

Keys: ``py:routing`` holds the table (JSON), ``py:routing:changed`` announces a revision, and
``py:gateway:<instance>`` is a gateway's heartbeat: the revision it serves by. It is kept for ``REMEMBERED`` seconds
beyond its TTL: whoever is quiet for so short a time may be dead, or be kept from being seen by the very Redis.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.errors import StorageUnavailable
from gateway.types import RoutingTable

ROUTING_KEY = "py:routing"
CHANGED_CHANNEL = "py:routing:changed"
HEARTBEAT_PREFIX = "py:gateway:"
REMEMBERED = 60.0
UNSEEN = 1.0
"""Seconds that a publisher waits for gateways that are quiet: longer than one that lives takes until its next look."""

# Sets the table only if it is newer, so that two publishers in a race cannot turn time back.
_PUBLISH = """
local known = tonumber(redis.call('HGET', KEYS[1], 'revision') or '-1')
if tonumber(ARGV[1]) < known then return 0 end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'table', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 1
"""

TROUBLE = (RedisError, OSError, asyncio.TimeoutError)


class RoutingStore:
    """Publishes and loads the routing table and the gateways' heartbeats. Every method raises StorageUnavailable."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._publish = redis.register_script(_PUBLISH)

    async def publish(self, table: RoutingTable) -> bool:
        """Make the table known; False if a newer one already is."""
        try:
            body = msgspec.json.encode(table)
            return bool(await self._publish(keys=[ROUTING_KEY], args=[table.revision, body, CHANGED_CHANNEL]))
        except TROUBLE as error:
            raise _unavailable(error) from error

    async def revision(self) -> int:
        """The published revision, -1 if none is. Not a number raises ``msgspec.DecodeError``, as ``load`` does."""
        try:
            value = await self._awaited(self._redis.hget(ROUTING_KEY, "revision"))
        except TROUBLE as error:
            raise _unavailable(error) from error
        return -1 if value is None else _number(value)

    async def load(self) -> RoutingTable | None:
        """The published table. A table that does not decode raises ``msgspec.DecodeError``: keep the last good one."""
        try:
            value = await self._awaited(self._redis.hget(ROUTING_KEY, "table"))
        except TROUBLE as error:
            raise _unavailable(error) from error
        return msgspec.json.decode(value, type=RoutingTable) if value else None

    async def beat(self, instance: str, revision: int, ttl: float) -> None:
        """Say that this gateway lives and serves by this revision."""
        try:
            await self._redis.set(HEARTBEAT_PREFIX + instance, revision, px=int((ttl + REMEMBERED) * 1000))
        except TROUBLE as error:
            raise _unavailable(error) from error

    async def leave(self, instance: str) -> None:
        """Take the heartbeat back at a clean stop."""
        try:
            await self._redis.delete(HEARTBEAT_PREFIX + instance)
        except TROUBLE as error:
            raise _unavailable(error) from error

    async def live(self) -> Mapping[str, int]:
        """Revision by instance of every gateway whose heartbeat has not expired."""
        return (await self._known())[0]

    async def wait_until_live(self, revision: int, *, patience: float = 5.0, interval: float = 0.02) -> dict[str, int]:
        """Wait until every live gateway serves by ``revision`` or a later one; returns those that do not in time.

        Those that fell quiet within the last ``REMEMBERED`` seconds are waited for as well, for ``UNSEEN`` seconds.
        """
        begun = asyncio.get_running_loop().time()
        while True:
            live, quiet = await self._known()
            waited = asyncio.get_running_loop().time() - begun
            behind = {name: known for name, known in live.items() if known < revision}
            maybe = waited < UNSEEN and any(known < revision for known in quiet.values())
            if not (behind or maybe) or waited >= patience:
                return behind
            await asyncio.sleep(interval)

    async def _known(self) -> tuple[dict[str, int], dict[str, int]]:
        """Revisions by instance: of those that live, and of those that have fallen quiet."""
        live: dict[str, int] = {}
        quiet: dict[str, int] = {}
        try:
            keys = [key async for key in self._redis.scan_iter(match=HEARTBEAT_PREFIX + "*", count=500)]
            pipe = self._redis.pipeline(transaction=False)  # the heartbeats of a cluster are on different nodes
            for key in keys:
                pipe.get(key)
                pipe.pttl(key)
            values = await pipe.execute() if keys else []
        except TROUBLE as error:
            raise _unavailable(error) from error
        for key, value, left_ms in zip(keys, values[::2], values[1::2], strict=True):
            if value is not None:
                side = live if left_ms > REMEMBERED * 1000 else quiet
                side[key.decode().removeprefix(HEARTBEAT_PREFIX)] = int(value)
        return live, quiet

    @staticmethod
    async def _awaited(value: Any) -> Any:
        return await value


def _number(value: bytes) -> int:
    return msgspec.json.decode(value, type=int)


def _unavailable(error: Exception) -> StorageUnavailable:
    return StorageUnavailable(f"the state Redis did not answer: {type(error).__name__}")
