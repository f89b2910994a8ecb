"""Connections to Redis: bounded, timed out, and (for the state Redis) guarded against a restart that lost writes.

The guard: an append-only file that is flushed every second loses the last second at a crash, and with it perhaps the
epoch of a document change that was already acknowledged. So every new connection, before its first command, compares
the server's ``run_id`` (new at each start) with the one stored beside the data. If they differ, the *generation* that
prefixes all epochs is replaced by a random one, atomically: what was cached under the restored epochs misses.
"""

import asyncio
import secrets

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

REDIS_TROUBLE: tuple[type[Exception], ...] = (RedisError, OSError, asyncio.TimeoutError)
"""Whatever a command may raise when Redis is down, slow, full or not what we think it is."""

RUN_ID_KEY = "py:{epoch}:run_id"
GENERATION_KEY = "py:{epoch}:generation"
"""The braces put all keys that the epoch scripts touch into one slot of a cluster."""

_GUARD = """
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('GET', KEYS[1]) ~= run_id then
  redis.call('SET', KEYS[2], ARGV[1])
  redis.call('SET', KEYS[1], run_id)
end
return run_id
"""


def connect(url: str, *, timeout: float, connections: int, guarded: bool = False) -> Redis:
    """A client that connects on first use; ``aclose`` it after the last one.

    ``timeout`` (seconds) bounds each of: waiting for a free connection, connecting, reading a reply. At most
    ``connections`` are open. Nothing is retried: callers go on without Redis, or say that it is down.
    ``guarded`` is for the state Redis: see the module. Raises ``ValueError`` for a URL of another scheme.
    """
    # Protocol 2 spares each connection the HELLO round-trip and is spoken by every server.
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=False,
        redis_connect_func=_greet_and_guard if guarded else None,
    )
    return Redis.from_pool(pool)


async def _greet_and_guard(connection: AbstractConnection) -> None:
    try:
        await connection.on_connect()
        await connection.send_command("EVAL", _GUARD, 2, RUN_ID_KEY, GENERATION_KEY, secrets.token_hex(8))
        await connection.read_response()
    except BaseException:
        # Also when cancelled: an open connection that skipped the guard must not get back into the pool.
        await connection.disconnect(nowait=True)
        raise
