"""Redis servers of a drill's own, in its own folder, on free ports of the loopback; ended by their process."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from deployments.stack.choices import find_redis_server
from deployments.stack.errors import StackError
from gateway.storage.redis_store import REDIS_TROUBLE, connect

CACHE = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
STATE = ("--maxmemory-policy", "noeviction", "--appendonly", "yes")
_READY_WITHIN = 15.0
_STARTS = 3


@dataclass(frozen=True)
class DrillRedis:
    """A server that runs."""

    port: int
    process: asyncio.subprocess.Process

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@contextlib.asynccontextmanager
async def redis_server(folder: Path, *options: str) -> AsyncIterator[DrillRedis]:
    """Raises StackError when this machine has no redis-server or it does not start."""
    server = await _start(folder, options)
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.process.kill()  # it holds nothing that anybody wants back
        await server.process.wait()


async def _start(folder: Path, options: tuple[str, ...]) -> DrillRedis:
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    for _ in range(_STARTS):  # another process may take the port first
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            str(find_redis_server()),
            *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", *options),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        server = DrillRedis(port, process)
        if await _answers(server):
            return server
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    raise StackError("the drill's Redis did not start", hint="Run its redis-server by hand to see what it says.")


async def _answers(server: DrillRedis) -> bool:
    redis: Redis = connect(server.url, timeout=1.0, connections=1)
    try:
        async with asyncio.timeout(_READY_WITHIN):
            while server.process.returncode is None:
                try:
                    return bool(await redis.ping())
                except REDIS_TROUBLE:
                    await asyncio.sleep(0.01)
    except TimeoutError:
        pass
    finally:
        await redis.aclose()
    return False
