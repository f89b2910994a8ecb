"""100,000 answers through the whole path, under a ``maxmemory`` that half of them fit in: who notices?

One worker's request path with both of its Redis, a provider within the process, and a cache Redis of 256 MB with
allkeys-lru. Most calls are new questions, some ask again what was asked a moment ago.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from deployments.drills.yard import MODEL, Yard, relaid, yard
from gateway.cache.memory import RedisMemory, read_memory
from gateway.compose import Gateway
from gateway.types import Completion, Delta, Layer, Reply, Usage
from tests.bench.load import quantile

ENTRIES, LIMIT_MB = 100_000, 256
QUESTION = 2_500
"""Random characters of a question; the provider repeats them, and an entry holds both."""
CALLERS = 32
_AGAIN = 5
"""Every so many calls asks again what was asked about a hundred questions ago."""
_WITHIN = 100
_LOOKS_EVERY = 500


class Filled(Struct):
    """``resident_mb``: of the server's process; ``early_ms`` and ``late_ms``: medians before and while it evicts."""

    asked: int = 0
    errors: int = 0
    again: int = 0
    hits: int = 0
    evicted: int = 0
    entries: int = 0
    most_used_mb: float = 0.0
    most_resident_mb: float = 0.0
    early_ms: float = 0.0
    late_ms: float = 0.0
    late_p99_ms: float = 0.0
    seconds: float = 0.0


async def fill(entries: int, limit_mb: int, within: float) -> Filled:
    """Ask ``entries`` new questions, or as many as fit into ``within`` seconds."""
    options = ("--maxmemory", f"{limit_mb}mb", "--maxmemory-policy", "allkeys-lru")
    async with yard(cache_options=options, seconds=0.0) as place, place.workers(1) as (worker,):
        return await _Filling(place, worker, entries, within).run()


class _Filling:
    def __init__(self, place: Yard, worker: Gateway, entries: int, within: float) -> None:
        self._place = place
        self._worker = worker
        self._path = relaid(worker, providers=_Repeating())
        self._numbers = iter(range(entries))
        self._until = time.monotonic() + within
        self._done = Filled()
        self._before: list[float] = []
        self._while: list[float] = []
        self._evicting = False

    async def run(self) -> Filled:
        begun = time.monotonic()
        await asyncio.gather(*(self._ask_on() for _ in range(CALLERS)))
        done = self._done
        done.seconds = time.monotonic() - begun
        memory = await self._look()
        done.evicted = memory.evicted
        done.entries = int(await self._worker.cache_redis.dbsize())
        done.early_ms, done.late_ms = quantile(self._before, 0.5), quantile(self._while, 0.5)
        done.late_p99_ms = quantile(self._while, 0.99)
        return done

    async def _ask_on(self) -> None:
        for number in self._numbers:
            if time.monotonic() > self._until:
                return
            await self._ask(number, again=False)
            if number % _AGAIN == 0 and number >= _WITHIN:
                await self._ask(number - _WITHIN, again=True)
            if number % _LOOKS_EVERY == 0:
                self._evicting = (await self._look()).evicted > 0

    async def _ask(self, number: int, *, again: bool) -> None:
        done, begun = self._done, time.perf_counter()
        done.asked += 1
        try:
            answer = await self._path.answer(self._place.call(question(number)))
        except Exception:  # whatever it is, somebody got no answer
            done.errors += 1
            return
        if again:
            done.again += 1
            done.hits += answer.layer is not Layer.NONE
        else:
            (self._while if self._evicting else self._before).append((time.perf_counter() - begun) * 1000)

    async def _look(self) -> RedisMemory:
        memory = await read_memory(self._worker.cache_redis, 5.0)
        self._done.most_used_mb = max(self._done.most_used_mb, memory.used / 2**20)
        resident = resident_mb(self._place.cache_redis.process.pid)
        self._done.most_resident_mb = max(self._done.most_resident_mb, resident)
        return memory


class _Repeating:
    """A provider that says what it was asked, at once."""

    async def complete(self, request: Completion) -> Reply:
        return Reply(
            message={"role": "assistant", "content": request.messages[-1]["content"]},
            finish_reason="stop",
            provider=MODEL.provider,
            model=MODEL.model,
            usage=Usage(input_tokens=400, output_tokens=100),
        )

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        reply = await self.complete(request)
        yield Delta(delta=dict(reply.message), reply=reply)


def question(number: int) -> str:
    """The same for the same number; nothing that compresses."""
    return f"{number}: {random.Random(number).randbytes(QUESTION // 2).hex()}"


def resident_mb(pid: int) -> float:
    """Of a process, by Linux; 0.0 where there is no such file."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS")), 0.0)


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: the longest that filling may take."""
    found = asyncio.run(fill(ENTRIES, LIMIT_MB, seconds))
    table = Table("", "", title=f"{ENTRIES:,} answers under {LIMIT_MB} MB")
    figures = {name: getattr(found, name) for name in found.__struct_fields__}
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else f"{value:,.2f}")
    console.print(table)
    violations = [
        text
        for wrong, text in (
            (found.errors > 0, "somebody got no answer"),
            (found.evicted == 0, "nothing was evicted"),
            (found.most_used_mb > LIMIT_MB * 1.02, "more memory than allowed"),
            (found.asked - found.again < ENTRIES, "not all were asked within the time"),
        )
        if wrong
    ]
    return figures | {"violations": violations}
