"""Until when a worker may believe its routing table without looking."""

import math
from collections.abc import Awaitable, Callable


async def _nobody_watches() -> None:
    """The table is what it is."""


class Lease:
    """Whoever publishes a table waits for the workers whose heartbeats it sees, and for nobody else.

    A worker that stood still for longer than its heartbeat lives may have missed one. It looks before it serves on:
    ``until`` is in seconds of the monotonic clock, ``renew`` never raises.
    """

    def __init__(self) -> None:
        self.until = math.inf
        self.renew: Callable[[], Awaitable[None]] = _nobody_watches
