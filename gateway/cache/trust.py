"""Cuts that are not read for every call: what a worker has read counts for a moment, and a cut waits that moment out.

A removal by name is rare and nobody waits for it; reading for it costs every call a command (12–16 µs of the worker's
CPU time, and as much of the state Redis'). So a reading is trusted for ``TRUST`` seconds from the moment it was asked
for, and a cut is acknowledged only when every reading from before it has run out, on whatever worker. Who asks after
the acknowledgement is never answered by what was removed.

The moment is measured on both clocks: the monotonic one stands still while a machine sleeps, the other one may be set.
Document changes are not of this kind: they are acknowledged within milliseconds, and epochs are read for each call.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, Protocol

from msgspec import Struct

from gateway.clock import Clock

TRUST = 0.25
"""Seconds. All workers of an installation must have the same."""
MARGIN = 0.05
"""Seconds that a cut waits beyond: clocks of two machines do not run alike."""

_MOST_NAMES = 4096

_Names = tuple[str, str, str, tuple[str, ...]]


class CutBook(Protocol):
    """As ``cuts.Cuts``, which see."""

    def current(self, tenant: str, prompt: str = "", version: str = "", tags: Sequence[str] = ()) -> Awaitable[str]: ...
    async def cut(self, tenant: str, *, prompt: str = "", version: str = "", tag: str = "") -> None: ...


class _Reading(Struct, frozen=True):
    token: str
    monotonic: float
    now: float


class _There:
    """An awaitable that is there already: a coroutine would cost more than what it brings."""

    __slots__ = ("_token",)

    def __init__(self, token: str) -> None:
        self._token = token

    def __await__(self) -> Generator[Any, None, str]:
        return self._token
        yield


class _OnItsWay:
    """Not a coroutine: who asked may leave without hearing."""

    __slots__ = ("_arguments", "_read")

    def __init__(self, read: Callable[..., Coroutine[Any, Any, str]], *arguments: Any) -> None:
        self._read = read
        self._arguments = arguments

    def __await__(self) -> Generator[Any, None, str]:
        return self._read(*self._arguments).__await__()


class TrustedCuts:
    """For one event loop. Every cut of an installation goes through one of these."""

    def __init__(
        self,
        cuts: CutBook,
        clock: Clock,
        *,
        trust: float = TRUST,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cuts = cuts
        self._clock = clock
        self._trust = trust
        self._sleep = sleep
        self._readings: OrderedDict[_Names, _Reading] = OrderedDict()

    def current(self, tenant: str, prompt: str = "", version: str = "", tags: Sequence[str] = ()) -> Awaitable[str]:
        """As ``Cuts.current``; asks nobody while a reading is trusted."""
        names = tenant, prompt, version, tuple(tags)
        monotonic, now = self._clock.monotonic(), self._clock.now()
        reading = self._readings.get(names)
        if (
            reading is not None
            and monotonic - reading.monotonic < self._trust
            and 0.0 <= now - reading.now < self._trust
        ):
            return _There(reading.token)
        return _OnItsWay(self._read, names, monotonic, now, self._cuts.current(tenant, prompt, version, tags))

    async def _read(self, names: _Names, monotonic: float, now: float, asked: Awaitable[str]) -> str:
        token = await asked
        if token:
            self._readings[names] = _Reading(token, monotonic, now)
            self._readings.move_to_end(names)
            while len(self._readings) > _MOST_NAMES:
                self._readings.popitem(last=False)
        return token

    async def cut(self, tenant: str, *, prompt: str = "", version: str = "", tag: str = "") -> None:
        """As ``Cuts.cut``; returns when no worker trusts a reading from before it."""
        await self._cuts.cut(tenant, prompt=prompt, version=version, tag=tag)
        self._readings.clear()
        await self._sleep(self._trust + MARGIN)
