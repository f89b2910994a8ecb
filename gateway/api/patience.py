"""A coarse time-out for what nearly always is over at once: one timer for all, instead of one for each.

``asyncio.timeout`` makes and cancels a timer each time; here a wait costs two operations on a dict, and who waits too
long is told at the next look, up to a second late.
"""

import asyncio
from types import TracebackType
from typing import Self

_LOOK_SECONDS = 1.0


class Patience:
    """Waits of at most ``seconds``, for one event loop::

    async with patience.wait() as wait:    # raises TimeoutError inside of the task that waits
        ...
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits: dict[Wait, float] = {}
        self._looking: asyncio.AbstractEventLoop | None = None

    def wait(self) -> "Wait":
        return Wait(self)

    def _begin(self, wait: "Wait") -> None:
        loop = asyncio.get_running_loop()
        self._waits[wait] = loop.time() + self._seconds
        if self._looking is not loop:
            self._looking = loop
            loop.call_later(_LOOK_SECONDS, self._look, loop)

    def _end(self, wait: "Wait") -> None:
        del self._waits[wait]

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for wait, deadline in list(self._waits.items()):
            if deadline > now:
                break  # in order of their beginning, and so of their deadlines
            wait.give_up()
        self._looking = loop if self._waits else None
        if self._waits:
            loop.call_later(_LOOK_SECONDS, self._look, loop)


class Wait:
    __slots__ = ("_over", "_patience", "_task")

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._task: asyncio.Task[object] | None = None
        self._over = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        self._patience._begin(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patience._end(self)
        if self._over and self._task is not None and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def give_up(self) -> None:
        if not self._over and self._task is not None:
            self._over = True
            self._task.cancel()
