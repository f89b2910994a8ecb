"""The servers behind a client: one, or each master of a cluster. For what a whole cluster is asked: INFO and SCAN."""

from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster


class Server:
    """One server's INFO and SCAN. Its methods raise one of ``REDIS_TROUBLE``."""

    def __init__(self, redis: Any, node: ClusterNode | None = None) -> None:
        self._redis = redis
        self._at = {} if node is None else {"target_nodes": node}

    async def info(self) -> dict[str, Any]:
        """The default sections."""
        told: dict[str, Any] = await self._redis.info(**self._at)
        return told

    async def names(self, pattern: str, batch: int) -> AsyncIterator[list[bytes]]:
        """The keys that match a glob, in batches of about ``batch``; none is left out that was there all along."""
        cursor: Any = 0
        while True:
            cursor, names = await self._redis.scan(cursor, match=pattern, count=batch, **self._at)
            if names:
                yield [name if isinstance(name, bytes) else name.encode() for name in names]
            if isinstance(cursor, dict):  # a cluster's client tells it by node
                (cursor,) = cursor.values()
            if not int(cursor):
                return


async def servers_of(redis: Redis) -> list[Server]:
    """All that hold keys. Raises one of ``REDIS_TROUBLE`` while a cluster's masters are not known."""
    cluster: Any = redis
    if not isinstance(cluster, RedisCluster):
        return [Server(redis)]
    await cluster.initialize()
    return [Server(cluster, node) for node in cluster.get_primaries()]
