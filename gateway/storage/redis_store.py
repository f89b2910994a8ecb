"""Clients of Redis by their URL: bounded, timed out, and (for the state Redis) guarded (see ``redis_connection``).

URLs follow the grammar of redis-py, and for several servers that of Prefect and its ``docket``:

- ``redis://[user:password@]host[:port][/db][?options]``: one server; ``rediss://`` over TLS, ``unix://`` over a socket.
- ``redis+sentinel://[user:password@]host[:26379][,host[:port]...]/service[/db][?options]``: the master that these
  Sentinels name, asked anew for each new connection. ``sentinel_username`` and ``sentinel_password`` are for the
  Sentinels themselves.
- ``redis+cluster://[user:password@]host[:6379][,host[:port]...][?options]``: the cluster that any of these nodes
  belongs to. Keys carry their scope as hash tag, so that every script and every command stays within one slot.
- ``rediss+sentinel://`` and ``rediss+cluster://``: the same over TLS, with options such as ``ssl_ca_certs``.
"""

from typing import cast

from redis.asyncio import BlockingConnectionPool, Redis

from gateway.storage.cluster_client import BoundedCluster
from gateway.storage.redis_connection import (
    GENERATION_KEY,
    REDIS_TROUBLE,
    RUN_ID_KEY,
    connection_options,
    greet_and_guard,
)
from gateway.storage.redis_url import read_redis_url
from gateway.storage.sentinel_pool import BoundedSentinelPool

__all__ = ["GENERATION_KEY", "REDIS_TROUBLE", "RUN_ID_KEY", "connect"]


def connect(url: str, *, timeout: float, connections: int, guarded: bool = False) -> Redis:
    """A client that connects on first use; ``aclose`` it after the last one.

    ``timeout`` (seconds) bounds each of: waiting for a free connection, connecting, reading a reply. At most
    ``connections`` are open, to each node of a cluster. Nothing is retried: callers go on without Redis, or say that
    it is down. ``guarded`` is for the state Redis. Raises ``ValueError`` for a URL that is none of the module's.

    A cluster's client has the same methods. What is asked of all its nodes goes by ``each_server``; what is short and
    frequent goes by ``line.line_for``, which is what the guard is for.
    """
    target = read_redis_url(url)
    if target.kind == "cluster":
        cluster = BoundedCluster(target, timeout=timeout, connections=connections, guarded=guarded)
        return cast(Redis, cluster)
    options = connection_options(timeout) | {"redis_connect_func": greet_and_guard if guarded else None}
    options |= target.options
    if target.kind == "sentinel":
        return Redis.from_pool(BoundedSentinelPool.of(target, timeout=timeout, connections=connections, **options))
    return Redis.from_pool(BlockingConnectionPool(max_connections=connections, timeout=timeout, **options))
