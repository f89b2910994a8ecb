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
_BUFFERED = 10 * 256
_SHIFTS = range(120, -10, -10)  # 13 pairs of digits
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]


class _Noise:
    """The system's randomness, fetched by the block: a system call for each id would cost more than the rest of it."""

    def __init__(self) -> None:
        self.forget()
        os.register_at_fork(after_in_child=self.forget)  # two processes must not draw the same

    def forget(self) -> None:
        self._blocks: list[bytes] = []

    def draw(self) -> bytes:
        """10 bytes. ``list.pop`` is atomic, so threads may share it."""
        while True:
            try:
                return self._blocks.pop()
            except IndexError:
                fresh = os.urandom(_BUFFERED)
                self._blocks = [fresh[start : start + 10] for start in range(0, _BUFFERED, 10)]


_noise = _Noise()


def new_id(prefix: str, clock: Clock, entropy: random.Random | None = None) -> str:
    """``<prefix>_<26 characters>``: 48 bits of milliseconds, then 80 random bits, as in a ULID.

    Ids of one prefix therefore sort by time of creation (to the millisecond).
    """
    noise = entropy.getrandbits(80) if entropy else int.from_bytes(_noise.draw(), "big")
    number = (int(clock.now() * 1000) << 80) | noise
    return f"{prefix}_{''.join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])}"
