"""What every connection to Redis has, whatever it leads to: bounds, and for the state Redis the guard.

The guard: an append-only file that is flushed every second loses the last second at a crash, and with it perhaps the
epoch of a document change that was already acknowledged. So every new connection, before its first command, compares
the server's ``run_id`` (new at each start) with the one stored beside the data. If they differ, the *generation* that
prefixes all epochs is replaced by a random one, atomically: what was cached under the restored epochs misses.

A replica that becomes the master has a ``run_id`` of its own too, so that what the old master had not yet sent to it
is made up for in the same way. What no guard sees is a *partition*: while two masters each take the other for dead,
a document change that one of them took is unknown to the workers that see only the other. ``min-replicas-to-write 1``
and a short ``min-replicas-max-lag`` on the state Redis bound that time.
"""

import asyncio
import contextlib
import secrets
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MovedError, RedisError

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


def connection_options(timeout: float) -> dict[str, Any]:
    """Options of redis-py's connections: ``timeout`` (seconds) bounds connecting and each reply; no retries."""
    # Protocol 2 spares each connection the HELLO round-trip and is spoken by every server.
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
    }


async def greet_and_guard(connection: AbstractConnection) -> None:
    """Of each new connection, before its first command: see the module. Raises one of ``REDIS_TROUBLE``."""
    try:
        await connection.on_connect()
        await connection.send_command("EVAL", _GUARD, 2, RUN_ID_KEY, GENERATION_KEY, secrets.token_hex(8))
        with contextlib.suppress(MovedError):  # a node of a cluster that does not have the epochs needs no guard
            await connection.read_response()
    except BaseException:
        # Also when cancelled: an open connection that skipped the guard must not get back into the pool.
        await connection.disconnect(nowait=True)
        raise
