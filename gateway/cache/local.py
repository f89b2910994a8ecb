"""A worker's own memory for entries: small, and bounded in number and in bytes.

It holds what Redis would hold, byte for byte, and knows nothing of what is true: whoever takes an entry out judges it
as one from Redis, by the epoch and the cuts that the call has just read. So what was removed, or made from documents
that have changed since, is served by no worker, however long the bytes lie here.
"""

from collections import OrderedDict

from msgspec import Struct

from gateway.clock import Clock

MAX_ENTRIES = 10_000
MAX_BYTES = 32 * 1024 * 1024
OVERHEAD = 300
"""Bytes that an entry takes beside its name and value: the two objects' heads, the record, its place in the table."""


class _Held(Struct, frozen=True):
    value: bytes
    size: int
    until: float


class LocalEntries:
    """Entries by name, the last used ones, each for at most its seconds. For one event loop.

    ``max_bytes`` counts names, values and ``OVERHEAD``; what alone would take more than an eighth of it is not held.
    """

    def __init__(self, clock: Clock, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._bytes = 0

    def get(self, name: str) -> bytes | None:
        held = self._held.get(name)
        if held is None:
            return None
        if held.until <= self._clock.monotonic():
            self.remove(name)
            return None
        self._held.move_to_end(name)
        return held.value

    def put(self, name: str, value: bytes, seconds: float) -> bool:
        """Whether it is held now; an older value of the name is not, either way."""
        self.remove(name)
        size = len(name) + len(value) + OVERHEAD
        if seconds <= 0 or self._max_entries < 1 or size > self._max_bytes // 8:
            return False
        self._held[name] = _Held(value, size, self._clock.monotonic() + seconds)
        self._bytes += size
        while len(self._held) > self._max_entries or self._bytes > self._max_bytes:
            self._bytes -= self._held.popitem(last=False)[1].size
        return True

    def remove(self, name: str) -> bool:
        """Whether it was held."""
        held = self._held.pop(name, None)
        if held is None:
            return False
        self._bytes -= held.size
        return True

    def clear(self) -> None:
        self._held.clear()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """As ``max_bytes`` counts them."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._held)
