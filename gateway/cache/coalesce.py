"""Single flight: identical calls that are under way together make one, within a process and across workers.

Within a process a flight is a task that belongs to nobody: who began it may leave, the others still get the answer.
Across workers a lease says who works (``leases.py``); the others follow by messages, and take over from a dead one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum

import msgspec
from msgspec import Struct

from gateway.cache.flight import Flight
from gateway.cache.flight_messages import (
    ERROR,
    JOIN,
    LEFT,
    PIECES,
    REPLY,
    Message,
    error_of,
    failure,
    pieces_of,
    reply_of,
)
from gateway.cache.leases import Lease, Leases, Taken
from gateway.errors import Overloaded, StreamInterrupted
from gateway.trail import Trail
from gateway.types import Reply

MAX_KEYS = 4096
MOST_TAKEOVERS = 3
"""Dead leaders after which a follower works for itself, whoever holds the lease."""
LONGEST_WAIT = 180.0
"""Seconds after which it does so too: longer than any call may take."""
_SLACK = 0.05
_TIME_TO_CLEAN_UP = 2.0
_TICKS = 3
"""Of the event loop, after which an answer has left that was waited for."""


class Left(Enum):
    """What becomes of a flight when a passenger gets off."""

    GOES_ON = "goes on"
    """Others of this process wait for it, or it has landed."""
    GOES_ON_ELSEWHERE = "goes on elsewhere"
    """Only other workers wait for it: nobody here will book what it costs."""
    ENDED = "ended"
    """Nobody waited any more: it was cancelled, and its trail tells what it cost."""


class Work(Struct, frozen=True):
    """How the answer of a flight is made: ``make`` lets pieces be said and the flight land, and then ``keep`` runs.

    ``keep`` says whether the answer is in the cache now. ``look`` looks into the cache once more: another worker may
    have landed since it was looked into. Calls that come while an answer is being kept get it too, unless it must be
    ``fresh`` or, once it is there, is not to be kept (``keeps``): such an answer is of its moment.
    """

    make: Callable[[Flight], Awaitable[None]]
    keep: Callable[[], Awaitable[bool]]
    look: Callable[[], Awaitable[Reply | None]]
    spare: Callable[[], None] = lambda: None
    fresh: bool = False
    keeps: Callable[[], bool] = lambda: True


class Coalescer:
    """For one event loop. At most ``max_keys`` flights are shared; a call beyond that makes its own."""

    def __init__(self, leases: Leases | None = None, max_keys: int = MAX_KEYS) -> None:
        self._leases = leases
        self._max_keys = max_keys
        self._flights: dict[str, Flight] = {}
        self._running: dict[Flight, asyncio.Task[None]] = {}
        self._held: dict[str, Lease] = {}
        self._told: dict[str, int] = {}
        self._news: dict[str, asyncio.Event] = {}
        if leases is not None:
            leases.listen(self._hear)

    def board(self, key: str, work: Work, trail: Trail) -> "Seat":
        """A place in the flight under ``key``; a new one begins at once, and ``trail`` becomes its own.

        It runs in a task of its own, which is cancelled only when nobody waits for it any more: a leader that goes away
        costs the others nothing. ``leave`` the seat when the flight has landed, or before.
        """
        flight = self._flights.get(key)
        led = flight is None
        if flight is None:
            flight = Flight(key, trail)
            shared = len(self._flights) < self._max_keys
            if shared:
                self._flights[key] = flight
            task = asyncio.create_task(self._fly(flight, work, shared=shared), name="flight")
            self._running[flight] = task
            task.add_done_callback(lambda done: self._over(flight, done))
        flight.passengers += 1
        return Seat(flight, led, flight.landed, self._get_off)

    def __contains__(self, key: str) -> bool:
        return key in self._flights

    async def settle(self) -> None:
        """Wait until nothing is under way, what is kept after an answer included."""
        while self._running:
            await asyncio.wait(list(self._running.values()))

    def __len__(self) -> int:
        return len(self._running)

    # --- within the process

    async def _get_off(self, flight: Flight) -> Left:
        flight.passengers -= 1
        task = self._running.get(flight)
        if flight.passengers or flight.landed or task is None:
            return Left.GOES_ON
        lease = self._held.get(flight.key)
        if lease is not None and lease.listeners:
            return Left.GOES_ON_ELSEWHERE
        self._remove(flight)  # whoever comes now starts anew, not with a task that is ending
        task.cancel()
        await asyncio.wait((task,), timeout=_TIME_TO_CLEAN_UP)
        return Left.ENDED

    def _over(self, flight: Flight, task: "asyncio.Task[None]") -> None:
        self._running.pop(flight, None)
        self._remove(flight)
        self._told.pop(flight.key, None)
        if not flight.landed:
            error = None if task.cancelled() else task.exception()
            flight.fail(error or Overloaded("the call that this one shared was cancelled"))
        elif not task.cancelled():
            task.exception()  # seen: the answer is out already

    def _remove(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    # --- across workers

    async def _fly(self, flight: Flight, work: Work, *, shared: bool) -> None:
        leases = self._leases if shared else None
        try:
            lease = None if leases is None else await self._wait_for_turn(leases, flight, work)
        except BaseException:
            work.spare()
            raise
        if flight.landed:
            work.spare()
            return
        if leases is None or lease is None:
            await self._work(flight, work)
            return
        self._held[flight.key] = lease
        flight.on_piece = lambda: self._forward(flight, lease)
        kept = False
        try:
            kept = await self._work(flight, work)
        except BaseException as error:
            flight.fail(error if isinstance(error, Exception) else Overloaded("the worker that made it was stopped"))
            raise
        finally:
            self._held.pop(flight.key, None)
            await asyncio.shield(self._part(leases, flight, lease, kept))

    async def _work(self, flight: Flight, work: Work) -> bool:
        await work.make(flight)
        if work.fresh or not work.keeps():
            self._remove(flight)
        for _ in range(_TICKS):
            await asyncio.sleep(0)
        return await work.keep()

    async def _part(self, leases: Leases, flight: Flight, lease: Lease, kept: bool) -> None:
        waiting = await leases.leave(lease, landed=kept)
        if flight.reply is not None:
            leases.tell(waiting, Message(REPLY, flight.key, flight.reply))
        elif isinstance(flight.error, Overloaded) or flight.error is None:
            leases.tell(waiting, Message(LEFT, flight.key))
        else:
            leases.tell(waiting, Message(ERROR, flight.key, failure(flight.error)))

    async def _wait_for_turn(self, leases: Leases, flight: Flight, work: Work) -> Lease | None:
        """The lease; None when the flight has landed elsewhere, or when nobody can be asked."""
        self._news[flight.key] = asyncio.Event()
        try:
            return await self._queue(leases, flight, work)
        finally:
            del self._news[flight.key]

    async def _queue(self, leases: Leases, flight: Flight, work: Work) -> Lease | None:
        loop = asyncio.get_running_loop()
        until = loop.time() + LONGEST_WAIT
        holders: set[str] = set()
        landed_too = False
        while len(holders) <= MOST_TAKEOVERS and loop.time() < until:
            standing = await leases.ask(flight.key, landed_too=landed_too)
            if not isinstance(standing, Taken):
                if not holders:
                    return standing
                return await self._take_over(leases, flight, work, standing)
            if standing.landed:
                if await self._found(flight, work):
                    return None
                landed_too = True
                continue
            holders.add(standing.holder)
            if await self._follow(flight, standing.seconds + _SLACK):
                return None
        flight.begin_again()
        return None

    async def _take_over(self, leases: Leases, flight: Flight, work: Work, lease: Lease | None) -> Lease | None:
        """After a dead holder, unless its answer is there: it may have landed while nobody here was awake."""
        found = await self._found(flight, work)
        try:
            if not found:
                flight.begin_again()
                return lease
        except StreamInterrupted:
            if lease is not None:
                await leases.leave(lease, landed=False)
            raise
        if lease is not None:
            await leases.leave(lease, landed=True)
        return None

    @staticmethod
    async def _found(flight: Flight, work: Work) -> bool:
        """Whether the cache has it by now."""
        reply = await work.look()
        if reply is None:
            return False
        flight.trail.booked = True  # by whoever made it
        flight.elsewhere = True
        flight.land(reply)
        return True

    async def _follow(self, flight: Flight, seconds: float) -> bool:
        """Listen until the flight has landed (true), or until the lease that was seen may have run out."""
        news = self._news[flight.key]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await news.wait()
        news.clear()
        return flight.landed

    def _forward(self, flight: Flight, lease: Lease) -> None:
        """Tell those who listen what they have not heard yet."""
        if self._leases is None or not lease.listeners:
            return
        told = self._told.get(flight.key, 0)
        if len(flight.pieces) > told:
            self._told[flight.key] = len(flight.pieces)
            self._leases.tell(lease.listeners, Message(PIECES, flight.key, flight.pieces[told:], told))

    def _hear(self, message: Message) -> None:
        flight = self._flights.get(message.flight)
        if flight is None:
            return
        if message.kind == JOIN:
            if self._leases is not None and isinstance(message.body, str):
                self._told[flight.key] = len(flight.pieces)
                self._leases.tell({message.body}, Message(PIECES, flight.key, list(flight.pieces)))
            return
        if flight.key in self._held or flight.key not in self._news:
            return  # made here: whoever believes to hold it too is late
        with suppress(msgspec.ValidationError):
            self._take(flight, message)
        if flight.landed or message.kind == LEFT:
            self._news[flight.key].set()

    def _take(self, flight: Flight, message: Message) -> None:
        if message.kind == PIECES:
            # Those that were lost are told again at the end: the reply holds all of it.
            flight.overhear(pieces_of(message), message.position)
        elif message.kind in (REPLY, ERROR):
            flight.trail.booked = True  # by whoever made it
            flight.elsewhere = True
            if message.kind == REPLY:
                flight.land(reply_of(message))
            else:
                flight.fail(error_of(message))


class Seat:
    """A passenger's. ``led``: it began the flight; ``late``: it had landed before, and was being kept."""

    def __init__(self, flight: Flight, led: bool, late: bool, get_off: Callable[[Flight], Awaitable[Left]]) -> None:
        self.flight = flight
        self.led = led
        self.late = late
        self._get_off = get_off

    async def leave(self) -> Left:
        """Once. What ends because nobody waits any more has ended when this returns."""
        return await self._get_off(self.flight)
