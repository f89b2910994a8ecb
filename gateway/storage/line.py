"""Short commands of many callers, together in few writes: to one server or to a cluster."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from gateway.storage.cluster_client import BoundedCluster
from gateway.storage.cluster_line import ClusterLine
from gateway.storage.redis_line import Argument, RedisLine, Script


class Line(Protocol):
    """For one event loop. What is asked is under way when these return.

    The replies raise one of ``REDIS_TROUBLE``, within the line's time-out; the errors of Redis are among them. A
    command's first argument is its key, and all keys of a script share a hash tag. What is not ``hurried`` may leave a
    little later, but never after what is asked after it.
    """

    def ask(self, *command: Argument) -> "asyncio.Future[Any]": ...

    def run(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, hurried: bool = True
    ) -> "asyncio.Future[Any]": ...


def line_for(redis: Redis, *, timeout: float) -> Line:
    """A line of this client; it needs no closing beyond the client's. ``timeout`` (seconds) bounds each exchange."""
    client: Any = redis
    if isinstance(client, RedisCluster):
        if not isinstance(client, BoundedCluster):
            raise TypeError("a cluster's client comes from redis_store.connect")
        return ClusterLine(client, timeout=timeout)
    return RedisLine(redis, timeout=timeout)
