"""Fakes at the seam of embedding models."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from gateway.embedding.base import Embedded, Input, Vectors, unit_rows
from gateway.errors import ProviderRejectedRequest


class FakeModel:
    """Answers a text with a row that only it has; remembers what was asked together.

    ``hold`` makes it wait until ``release``. Texts that begin with ``bad`` are refused, with all that came along.
    """

    name = "fake/model"
    dimensions = 2

    def __init__(self) -> None:
        self.requests: list[list[Input]] = []
        self.failures: list[Exception] = []
        self.cancelled = 0
        self.closed = False
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return unit_rows((await self.answer(texts)).vectors)

    async def answer(self, inputs: Sequence[Input]) -> Embedded:
        self.requests.append(list(inputs))
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failures:
            raise self.failures.pop(0)
        if any(isinstance(one, str) and one.startswith("bad") for one in inputs):
            raise ProviderRejectedRequest("refused", provider="fake", model="model")
        return Embedded(np.stack([row_of(one) for one in inputs]), tuple(len(one) for one in inputs))

    async def aclose(self) -> None:
        self.closed = True


def row_of(one: Input) -> Vectors:
    return np.asarray([hash(one if isinstance(one, str) else tuple(one)) % 10_007 + 1, len(one)], dtype=np.float32)


class FakeTimer:
    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None


class Timers:
    """``later`` of a MicroBatcher: what is due now runs at the next turn of the loop, the rest when ``elapse`` says."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._waiting: list[FakeTimer] = []

    def __call__(self, seconds: float, act: Callable[[], None]) -> FakeTimer:
        self.asked.append(seconds)
        timer = FakeTimer(act)
        if seconds:
            self._waiting.append(timer)
        else:
            asyncio.get_running_loop().call_soon(self._run, timer)
        return timer

    def elapse(self) -> None:
        waiting, self._waiting = self._waiting, []
        for timer in waiting:
            self._run(timer)

    @staticmethod
    def _run(timer: FakeTimer) -> None:
        if timer.act is not None:
            timer.act()


async def turns(number: int = 5) -> None:
    """Let everything that can run, run."""
    for _ in range(number):
        await asyncio.sleep(0)
