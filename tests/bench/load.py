"""Closed loops: each connection asks again as soon as it has its answer."""

import asyncio
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.connection import Connection, Exchange


@dataclass(frozen=True)
class Load:
    """Calls answered as expected per second, and quantiles of their latency in milliseconds.

    ``client_share`` is the load generator's CPU time as a share of one core.
    """

    rate: float
    calls: int
    p50: float
    p99: float
    errors: int
    client_share: float


def quantile(values: list[float], share: float) -> float:
    """Nearest rank; NaN without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


class ClosedLoop:
    """``request`` gives the next call's bytes; an answer is good if it is a 200 whose body contains ``expected``."""

    def __init__(self, url: str, request: Callable[[], bytes], expected: bytes) -> None:
        self._url = url
        self._request = request
        self._expected = expected
        self._taken: list[float] = []
        self._errors = 0
        self._running = 0
        self._deadline = 0.0
        self._finished = asyncio.Event()

    async def run(self, connections: int, seconds: float) -> Load:
        """Raises ``OSError`` when the server does not listen."""
        opened = [await Connection.open(self._url, self._over) for _ in range(connections)]
        cpu, begun = _cpu_seconds(), time.perf_counter()
        self._deadline = begun + seconds
        self._running = connections
        for connection in opened:
            connection.ask(self._request())
        async with asyncio.timeout(seconds + 60):
            await self._finished.wait()
        elapsed = time.perf_counter() - begun
        for connection in opened:
            connection.close()
        return Load(
            rate=len(self._taken) / elapsed,
            calls=len(self._taken),
            p50=quantile(self._taken, 0.5),
            p99=quantile(self._taken, 0.99),
            errors=self._errors,
            client_share=(_cpu_seconds() - cpu) / elapsed,
        )

    def _over(self, connection: Connection, exchange: Exchange) -> None:
        if exchange.status == 200 and self._expected in exchange.body:
            self._taken.append((exchange.ended - exchange.begun) * 1000)
        else:
            self._errors += 1
        if exchange.ended < self._deadline and connection.is_open:
            connection.ask(self._request())
            return
        self._running -= 1
        if not self._running:
            self._finished.set()


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system
