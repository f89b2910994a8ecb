"""Plain functions off the event loop, a bounded number at once."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any


class Threads:
    """At most ``most`` functions run at once; the others wait. Belongs to one event loop.

    The threads are daemons: a function that never returns keeps its place, but not the process from ending.
    """

    def __init__(self, most: int) -> None:
        self._places = asyncio.Semaphore(most)

    async def run(self, function: Callable[[], Any]) -> Any:
        """What the function returns. It must not raise. Cancelling stops the waiting, never the function."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def finish(value: Any) -> None:
            self._places.release()
            if not done.done():
                done.set_result(value)

        def work() -> None:
            value = context.run(function)
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile: nobody waits
                loop.call_soon_threadsafe(finish, value)

        context = contextvars.copy_context()
        try:
            threading.Thread(target=work, name="tool", daemon=True).start()
        except RuntimeError:  # the machine gives no more threads
            self._places.release()
            raise
        return await done
