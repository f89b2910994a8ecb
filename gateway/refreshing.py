"""Making kept answers anew in the background, after somebody was served the old one."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.types import Call

MAX_TASKS = 32


class Refresher:
    """For one event loop. At most ``max_tasks`` at a time, one for each key; beyond that nothing is begun: the next
    caller who is served the old answer tries again.
    """

    def __init__(self, make: Callable[[Call, float], Awaitable[None]], max_tasks: int = MAX_TASKS) -> None:
        """``make`` is told the call, and until when the answer that was served counts."""
        self._make = make
        self._max_tasks = max_tasks
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, key: str, call: Call, expires_at: float) -> bool:
        """Whether the answer under ``key`` is being made anew now."""
        if key in self._tasks:
            return True
        if len(self._tasks) >= self._max_tasks:
            return False

        async def run() -> None:
            await self._make(call, expires_at)

        task = self._tasks[key] = asyncio.create_task(run(), name="refresh")
        task.add_done_callback(lambda done: self._ended(key, done))
        return True

    def _ended(self, key: str, task: "asyncio.Task[None]") -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # seen: who makes it has recorded it

    async def stop(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)
