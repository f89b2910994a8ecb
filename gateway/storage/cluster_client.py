"""A client of a Redis Cluster that waits and asks within the same bounds as one of a single server."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, ClusterPubSub, RedisCluster
from redis.asyncio.connection import SSLConnection
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.typing import ScriptTextT

from gateway.storage.redis_connection import connection_options, greet_and_guard
from gateway.storage.redis_url import Address, RedisTarget

_BESIDE = 16
"""Connections to a node beyond those of commands: of subscriptions and pipelines."""


class BoundedCluster(RedisCluster):
    """See ``redis_store.connect``. Its own connections carry no guard: epochs are read by a line (``cluster_line``)."""

    def __init__(self, target: RedisTarget, *, timeout: float, connections: int, guarded: bool) -> None:
        self.guarded = guarded
        self._link = connection_options(timeout) | target.options
        self._members = list(target.members)
        self._wait = timeout
        self._most = connections
        self._places = asyncio.Semaphore(connections)
        self.closing: list[Callable[[], Awaitable[None]]] = []
        """What to close with this client: the lines made of it."""
        own = dict(self._link)
        encrypted = own.pop("connection_class", None) is SSLConnection
        super().__init__(
            startup_nodes=[ClusterNode(host, port) for host, port in target.members],
            max_connections=connections + _BESIDE,
            require_full_coverage=False,  # what is left of a cluster is still of use
            reinitialize_steps=0,  # a MOVED mends the slot that it is about; otherwise every fifth closes everything
            ssl=encrypted,
            **own,
        )

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """As redis-py's, after a wait of at most the time-out for one of the places."""
        try:
            async with asyncio.timeout(self._wait):
                await self._places.acquire()
        except TimeoutError as late:
            raise RedisConnectionError("no connection to the cluster became free in time") from late
        try:
            return await super().execute_command(*args, **kwargs)
        finally:
            self._places.release()

    async def initialize(self, *args: Any, **kwargs: Any) -> "BoundedCluster":
        """As redis-py's; the addresses of the URL are asked too when none that is known answers."""
        kwargs.setdefault("additional_startup_nodes_info", self._members)
        await super().initialize(*args, **kwargs)
        return self

    def register_script(self, script: ScriptTextT) -> Any:
        """Called as redis-py's, which would tell all nodes of a script that one lacks, those that are down included."""

        async def call(keys: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
            return await self.execute_command("EVAL", script, len(keys), *keys, *args)

        return call

    def pubsub(self, *args: Any, **kwargs: Any) -> ClusterPubSub:
        """As redis-py's, at any of the masters: what is published at one is heard at all, so none must be alive."""
        known = self.get_primaries()
        if known and not args:
            kwargs.setdefault("node", random.choice(known))  # noqa: S311 (any is as good)
        return _PubSub(self, *args, **kwargs)

    async def aclose(self) -> None:
        for close in self.closing:
            await close()
        await super().aclose()

    async def look_again(self) -> None:
        """Learn anew which node has which slots. Raises one of ``REDIS_TROUBLE`` when no node tells."""
        known = bool(self.nodes_manager.slots_cache)
        await self.initialize()
        if known:
            await self.nodes_manager.initialize(additional_startup_nodes_info=self._members)

    def address_of(self, slot: int) -> Address | None:
        """Of the master that has the slot, as far as it is known."""
        nodes = self.nodes_manager.slots_cache.get(slot)
        return (str(nodes[0].host), int(nodes[0].port)) if nodes else None

    def client_of(self, address: Address) -> Redis:
        """A client of this node alone, guarded where the cluster is."""
        host, port = address
        guard = greet_and_guard if self.guarded else None
        options = self._link | {"host": host, "port": port, "redis_connect_func": guard}
        return Redis.from_pool(BlockingConnectionPool(max_connections=self._most, timeout=self._wait, **options))


class _PubSub(ClusterPubSub):
    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        await self.cluster.initialize()  # it may be the first that anybody asks
        return await super().execute_command(*args, **kwargs)


def slot_of(key: bytes | str) -> int:
    """0 to 16383: the CRC16 of the hash tag, by the cluster specification."""
    return key_slot(key.encode() if isinstance(key, str) else key)
