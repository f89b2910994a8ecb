"""An open loop: calls come when they are due, whether or not earlier ones are answered.

Latency counts from the moment a call was due, so that a server that stalls cannot hide it by stalling its caller
(*coordinated omission*).
"""

import asyncio
import os
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence

from tests.bench.connection import Connection, Exchange

_TICK = 0.001


class OpenLoop:
    """``request(n)`` gives the n-th call's bytes and what a good answer's body contains.

    Connections are opened as they are needed, up to ``most``, and used in turn; a call beyond waits, which counts.
    """

    def __init__(self, url: str, request: Callable[[int], tuple[bytes, bytes]], *, most: int) -> None:
        self._url = url
        self._request = request
        self._most = most
        self._idle: deque[Connection] = deque()
        self._waiting: deque[tuple[float, bytes, bytes]] = deque()
        self._expected: dict[Connection, bytes] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._begun = 0.0
        self._over = asyncio.Event()
        self._unanswered = 0
        self.connections = 0
        self.answered_at = array("d")
        """Seconds since the start at which the good answers were complete."""
        self.latency_ms = array("d")
        """Of the good answers, in the order of ``answered_at``."""
        self.failures: Counter[str] = Counter()
        self.cpu_seconds = 0.0
        self.longest_queue = 0

    async def run(self, due: Sequence[float]) -> None:
        """``due``: seconds from now at which the calls come, ascending. Returns when all are over."""
        cpu = sum(os.times()[:2])
        self._unanswered = len(due)
        self._begun = time.perf_counter()
        for number, offset in enumerate(due):
            at = self._begun + offset
            if (ahead := at - time.perf_counter()) > 0:
                await asyncio.sleep(max(ahead, _TICK))
            if not number % 64:
                await asyncio.sleep(0)  # a late loop still reads its answers
            self._send(at, *self._request(number))
        async with asyncio.timeout(120):
            await self._over.wait()
        self.cpu_seconds = sum(os.times()[:2]) - cpu
        for connection in self._idle:
            connection.close()

    def _send(self, due: float, request: bytes, expected: bytes) -> None:
        while self._idle:
            connection = self._idle.popleft()
            if connection.is_open:
                self._expected[connection] = expected
                connection.ask(request, due)
                return
            self.connections -= 1
        self._waiting.append((due, request, expected))
        self.longest_queue = max(self.longest_queue, len(self._waiting))
        if self.connections < self._most and len(self._opening) < len(self._waiting):
            self.connections += 1
            task = asyncio.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        try:
            connection = await Connection.open(self._url, self._finished)
        except OSError:
            self.connections -= 1
            if self._waiting:
                self._waiting.popleft()
                self._failed("no connection")
            return
        self._ready(connection)

    def _ready(self, connection: Connection) -> None:
        if self._waiting:
            due, request, self._expected[connection] = self._waiting.popleft()
            connection.ask(request, due)
        else:
            self._idle.append(connection)

    def _finished(self, connection: Connection, exchange: Exchange) -> None:
        expected = self._expected.pop(connection)
        if exchange.status != 200:
            self._failed(f"status {exchange.status}" if exchange.status else "connection broke")
        elif expected not in exchange.body:
            self._failed("wrong answer")
        else:
            self.latency_ms.append((exchange.ended - exchange.begun) * 1000)
            self.answered_at.append(exchange.ended - self._begun)
            self._one_less()
        if connection.is_open:
            self._ready(connection)
        else:
            self.connections -= 1

    def _failed(self, why: str) -> None:
        self.failures[why] += 1
        self._one_less()

    def _one_less(self) -> None:
        self._unanswered -= 1
        if not self._unanswered:
            self._over.set()
