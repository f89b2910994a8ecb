"""Calls of one process that bring the same key, in single file: the first one deals with SQL, the others wait here."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Overloaded
from gateway.idempotency.claims import Place, Replay, other_body


class Lane:
    """The queue at one key. Whoever has the ``turn`` may ask SQL; a claim keeps the turn until it has ended."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.members = 0
        self.fingerprint = ""
        """Of the call that SQL says works on the key or has answered; empty while unknown."""
        self.replay: Replay | None = None
        """The answer, once a member of the lane has it."""

    def check(self, fingerprint: str) -> None:
        """Raises IdempotencyConflict for another body."""
        if self.fingerprint not in ("", fingerprint):
            raise other_body()


class Lanes:
    """A lane exists while it has members. For one event loop."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._lanes: dict[Place, Lane] = {}
        self.waiting_now = 0

    def enter(self, place: Place) -> Lane:
        lane = self._lanes.setdefault(place, Lane())
        lane.members += 1
        return lane

    def leave(self, place: Place) -> None:
        lane = self._lanes[place]
        lane.members -= 1
        if not lane.members:
            del self._lanes[place]

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Take one of the places to wait in. Raises Overloaded when there is none."""
        if self.waiting_now >= self._max_waiting:
            raise Overloaded("too many calls wait for another with their Idempotency-Key", retry_after=1)
        self.waiting_now += 1
        try:
            yield
        finally:
            self.waiting_now -= 1

    def __len__(self) -> int:
        return len(self._lanes)
