"""The parts of the index that a worker has in memory, each following its stream in the cache Redis.

Whoever learns a question appends it to the part's stream, bounded in length and lifetime; every worker that is asked
something of that part reads on from where it was. A part that is asked for the first time is loaded in the background.
Losing a stream loses no answer: questions are learned again as they are answered.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from redis.exceptions import ResponseError

from gateway.cache.semantic.index import MOST, SimilarIndex
from gateway.cache.semantic.items import Vector, decode_item, encode_item
from gateway.clock import Clock
from gateway.storage.line import Line
from gateway.storage.redis_store import REDIS_TROUBLE

FOLLOW_EVERY = 0.5
"""Seconds after which a part that is asked for reads on, beside the call."""
FOLLOW_FIRST = 5.0
"""Seconds after which the call waits for it, ``PATIENCE`` at most."""
PATIENCE = 0.01

_PAGE = 200  # items a read: about a millisecond of decoding
_BEGINNING = b"0-0"

_log = logging.getLogger(__name__)


class _Followed:
    def __init__(self, index: SimilarIndex) -> None:
        self.index = index
        self.loaded = False
        self.cursor = _BEGINNING
        self.read_at = 0.0
        self.reading: asyncio.Task[None] | None = None


class Shelf:
    """For one event loop. Beyond ``parts`` or ``cells`` numbers, the part that was asked for longest ago is let go."""

    def __init__(
        self,
        line: Line,
        *,
        clock: Clock,
        new_index: Callable[[], SimilarIndex],
        parts: int = 512,
        cells: int = 100_000_000,
        most: int = MOST,
    ) -> None:
        self._line = line
        self._clock = clock
        self._new_index = new_index
        self._parts = parts
        self._cells = cells
        self._most = most
        self._followed: OrderedDict[str, _Followed] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    async def index(self, part: str) -> SimilarIndex | None:
        """The part as this worker knows it; None while it is being loaded."""
        followed = self._at_hand(part)
        idle = self._clock.monotonic() - followed.read_at
        if followed.loaded and idle < FOLLOW_EVERY:
            return followed.index
        reading = self._read_on(part, followed)
        if followed.loaded and idle >= FOLLOW_FIRST:
            await asyncio.wait((reading,), timeout=PATIENCE)
        return followed.index if followed.loaded else None

    async def add(self, part: str, text: str, vector: Vector, expires_at: float, answer: int = 0) -> bool:
        """Tell every worker of a question whose answer is kept. False when Redis did not take it."""
        try:
            item = encode_item(text, vector, expires_at, answer)
        except UnicodeEncodeError:
            return False
        lifetime = max(1, int((expires_at - self._clock.now()) * 1000))
        appended = self._line.ask("XADD", part, "MAXLEN", "~", self._most, "*", "i", item)
        lasting = self._line.ask("PEXPIRE", part, lifetime)
        try:
            await appended
            await lasting
        except REDIS_TROUBLE:
            return False
        known = decode_item(item)
        if known is not None:  # as the others will know it; this worker need not read it
            self._at_hand(part).index.add(text, known.vector, expires_at, answer)
            self._make_room()
        return True

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await self.settle()

    async def settle(self) -> None:
        """Wait for what is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def __len__(self) -> int:
        return len(self._followed)

    def _at_hand(self, part: str) -> _Followed:
        followed = self._followed.get(part)
        if followed is None:
            followed = self._followed[part] = _Followed(self._new_index())
            while len(self._followed) > self._parts:
                self._followed.popitem(last=False)
        else:
            self._followed.move_to_end(part)
        return followed

    def _read_on(self, part: str, followed: _Followed) -> "asyncio.Task[None]":
        if followed.reading is None or followed.reading.done():
            followed.reading = self._begin(self._read(part, followed))
        return followed.reading

    def _begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work, name="semantic index")
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read(self, part: str, followed: _Followed) -> None:
        try:
            more = True
            while more:  # calls go between two pages
                more = await self._page(part, followed)
        except REDIS_TROUBLE as trouble:
            if isinstance(trouble, ResponseError):  # somebody's key of another type: it stays empty
                _log.warning("a stream of questions cannot be read: %s", type(trouble).__name__)
        followed.loaded = True  # what could not be read now is read by the next call
        followed.read_at = self._clock.monotonic()
        self._make_room()
        if followed.index.sealable:
            self._begin(followed.index.seal())

    async def _page(self, part: str, followed: _Followed) -> bool:
        """Whether there may be more."""
        items = await self._line.ask("XRANGE", part, b"(" + followed.cursor, "+", "COUNT", _PAGE)
        if not items:
            if followed.cursor != _BEGINNING and await self._is_another(part, followed.cursor):
                followed.cursor = _BEGINNING
                return True
            return False
        for name, fields in items:
            followed.cursor = bytes(name)
            item = decode_item(bytes(fields[1])) if len(fields) == 2 else None
            if item is not None and item.expires_at > self._clock.now():
                followed.index.add(item.text, item.vector, item.expires_at, item.answer)
        return len(items) == _PAGE

    async def _is_another(self, part: str, cursor: bytes) -> bool:
        """Whether the stream ends before what was read of it: it was lost and begun anew, by a server whose clock
        may be behind."""
        last = await self._line.ask("XREVRANGE", part, "+", "-", "COUNT", 1)
        return bool(last) and _number(bytes(last[0][0])) < _number(cursor)

    def _make_room(self) -> None:
        while len(self._followed) > 1 and sum(one.index.cells for one in self._followed.values()) > self._cells:
            self._followed.popitem(last=False)


def _number(name: bytes) -> tuple[int, int]:
    milliseconds, _, count = name.partition(b"-")
    return int(milliseconds), int(count or b"0")
