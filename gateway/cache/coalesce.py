"""Single flight within a process: identical calls that are under way together make one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gateway.errors import Overloaded

T = TypeVar("T")

MAX_KEYS = 4096


class Abandoned(asyncio.CancelledError):
    """Raised in the last one who waited, when it is cancelled: what it waited for is cancelled with it."""

    def __init__(self, flight: Any) -> None:
        super().__init__()
        self.flight = flight


class _Flight:
    def __init__(self, task: "asyncio.Task[Any]", label: Any) -> None:
        self.task = task
        self.label = label
        self.waiting = 0


class Coalescer:
    """For one event loop. At most ``max_keys`` flights are shared; a call beyond that makes its own."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._flights: dict[str, _Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def join(self, key: str, produce: Callable[[], Awaitable[T]], label: Any = None) -> tuple[T, bool]:
        """What ``produce`` gives, called once for all that join under ``key`` meanwhile; and whether this call led.

        It runs in a task of its own, which is cancelled only when nobody waits for it any more: a leader that goes
        away costs the others nothing. Its error is raised in everyone who waits (the same instance). Raises
        Overloaded if the task was cancelled from elsewhere, and Abandoned, which carries the leader's ``label``, in
        the last one who waits when that one is cancelled.
        """
        flight = self._flights.get(key)
        led = flight is None
        if flight is None:
            if len(self._flights) >= self._max_keys:
                return await produce(), True
            flight = self._depart(key, produce, label)
        flight.waiting += 1
        try:
            await asyncio.wait((flight.task,))
        except asyncio.CancelledError:
            if flight.waiting == 1 and not flight.task.done():
                self._remove(key, flight)  # whoever comes now starts anew, not with a task that is ending
                flight.task.cancel()
                raise Abandoned(flight.label) from None
            raise
        finally:
            flight.waiting -= 1
        if flight.task.cancelled():
            raise Overloaded("the call that this one shared was cancelled")
        result: T = flight.task.result()
        return result, led

    def _depart(self, key: str, produce: Callable[[], Awaitable[T]], label: Any) -> _Flight:
        async def run() -> T:
            return await produce()

        task = asyncio.create_task(run(), name="coalesced")
        flight = self._flights[key] = _Flight(task, label)
        self._tasks.add(task)  # the loop itself holds tasks only weakly

        def landed(done: "asyncio.Task[Any]") -> None:
            self._remove(key, flight)
            self._tasks.discard(done)
            if not done.cancelled():
                done.exception()  # seen, even if everybody has left

        task.add_done_callback(landed)
        return flight

    def _remove(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def __len__(self) -> int:
        return len(self._flights)
