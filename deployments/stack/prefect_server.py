"""Prefect's server on SQLite, without its stalls of a minute: ``python -m deployments.stack.prefect_server ARGUMENTS``.

The arguments are those of ``prefect``. What stalls it, as seen in a server that stood still: a coroutine holds SQLite's
write lock; another connection waits for that lock in a thread of its own and meanwhile holds the connection's mutex;
Python's garbage collector, which runs in whatever thread allocates, here the event loop's, finalises a left-over cursor
of the waiting connection and so waits for the mutex; the loop stands still, and with it the coroutine that would give
the lock back, until the wait ends with "database is locked": 60 s, which Prefect sets as ``PRAGMA busy_timeout``
whatever ``PREFECT_SERVER_DATABASE_TIMEOUT`` says. Collecting in a thread of its own breaks the circle: only that thread
waits then.
"""

import gc
import sys
import threading
from collections.abc import Callable

from deployments.stack.prepare_deployments import run_program

EVERY = 2.0
"""Seconds between collections of young objects."""
FULL = 15
"""Every so many of them, everything is looked at: that stops the server for tenths of a second."""


def collect_in_background(wait: Callable[[float], bool], every: float = EVERY, full: int = FULL) -> threading.Thread:
    """Turn automatic collection off and collect in a thread until ``wait(seconds)`` says that it is over."""

    def collect() -> None:
        rounds = 0
        while not wait(every):
            rounds += 1
            gc.collect(2 if rounds % full == 0 else 1)

    gc.disable()
    thread = threading.Thread(target=collect, name="garbage", daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    collect_in_background(threading.Event().wait)
    sys.exit(run_program("prefect", sys.argv[1:]))
