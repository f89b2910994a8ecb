"""Time and randomness enter the project here, so that tests can move both."""

import os
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. Implementations must be safe to share between tasks and threads."""

    def now(self) -> float:
        """Seconds since the Unix epoch: for what is stored or compared between processes."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back: for durations."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_SHIFTS = range(120, -10, -10)  # 13 pairs of digits
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]


def new_id(prefix: str, clock: Clock, entropy: random.Random | None = None) -> str:
    """``<prefix>_<26 characters>``: 48 bits of milliseconds, then 80 random bits, as in a ULID.

    Ids of one prefix therefore sort by time of creation (to the millisecond).
    """
    noise = entropy.getrandbits(80) if entropy else int.from_bytes(os.urandom(10), "big")
    number = (int(clock.now() * 1000) << 80) | noise
    return f"{prefix}_{''.join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])}"
