"""Background calls wait their turn: first come, first served per scope, bounded in number and in time."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.clock import Clock

SHORTEST_PAUSE = 0.005

Sleep = Callable[[float], Awaitable[None]]


class _Line:
    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.length = 0


class WaitingRoom:
    """The waiters of one worker: at most ``most`` of them, each for at most ``longest`` seconds."""

    def __init__(self, *, longest: float, most: int, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._longest = longest
        self._most = most
        self._clock = clock
        self._sleep = sleep
        self._waiting = 0
        self._lines: dict[str, _Line] = {}

    def has_line(self, scope: str) -> bool:
        """Whether somebody waits there: who comes now goes behind them."""
        return scope in self._lines

    async def wait(self, scope: str, attempt: Callable[[], Awaitable[float]], wait: float) -> float:
        """Try ``attempt`` until it returns 0.0 for success; it returns the seconds to wait otherwise.

        ``wait`` is what the last attempt returned. Gives 0.0, or the seconds that were still to wait when the time was
        up, would be up before the next attempt, or no place was free.
        """
        if self._waiting >= self._most or wait > self._longest:
            return max(wait, SHORTEST_PAUSE)
        deadline = self._clock.monotonic() + self._longest
        line = self._lines.setdefault(scope, _Line())
        self._waiting += 1
        line.length += 1
        try:
            return await self._stand(line, attempt, wait, deadline)
        finally:
            self._waiting -= 1
            line.length -= 1
            if not line.length:
                del self._lines[scope]

    async def _stand(self, line: _Line, attempt: Callable[[], Awaitable[float]], wait: float, deadline: float) -> float:
        queued = line.turn.locked()
        try:
            async with asyncio.timeout(self._longest):
                await line.turn.acquire()
        except TimeoutError:
            return max(wait, SHORTEST_PAUSE)
        try:
            if queued:
                wait = await attempt()
            while wait > 0.0:
                pause = max(wait, SHORTEST_PAUSE)
                if self._clock.monotonic() + pause > deadline:
                    return pause
                await self._sleep(pause)
                wait = await attempt()
            return 0.0
        finally:
            line.turn.release()
