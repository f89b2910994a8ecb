"""Whether a scope has earned to serve: told by the judge through the state Redis, believed for as long as it is told.

A verdict lives there under a TTL that only the judge renews. So where nobody judges any more, nothing is served after
a while, and an emptied Redis takes the right to serve back at once.
"""

from collections import OrderedDict
from hashlib import sha256

import msgspec
from redis.asyncio import Redis

from gateway.cache.semantic.scope import SemanticScope
from gateway.clock import Clock
from gateway.storage.line import Line
from gateway.storage.redis_store import REDIS_TROUBLE

PREFIX = "py:semantic:"
BELIEVED_FOR = 2.0
"""Seconds for which a worker goes by what it has read: a demotion's longest delay."""
TOLD_FOR = 6 * 3600.0
"""Seconds that a verdict is valid without being renewed."""

_MOST = 1024


class Verdict(msgspec.Struct, frozen=True):
    """``threshold`` is the score from which hits are (or would be) served; ``upper`` bounds the wrong ones."""

    serving: bool
    threshold: float
    upper: float = 1.0
    state: str = ""


_decoder = msgspec.json.Decoder(Verdict)


def verdict_key(scope: SemanticScope) -> str:
    """The Redis key."""
    told = msgspec.msgpack.encode((scope.tenant, scope.prompt, scope.version, scope.recipe))
    return PREFIX + sha256(told).hexdigest()


class Verdicts:
    """For one event loop. Trouble, and what cannot be read, is no verdict: then nothing is served."""

    def __init__(self, line: Line, *, clock: Clock) -> None:
        self._line = line
        self._clock = clock
        self._known: OrderedDict[SemanticScope, tuple[Verdict | None, float]] = OrderedDict()

    async def of(self, scope: SemanticScope) -> Verdict | None:
        """At most ``BELIEVED_FOR`` seconds old."""
        now = self._clock.monotonic()
        known = self._known.get(scope)
        if known is not None and now - known[1] < BELIEVED_FOR:
            return known[0]
        verdict = await self._ask(scope)
        self._known[scope] = verdict, now
        self._known.move_to_end(scope)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return verdict

    def forget(self) -> None:
        """The next call asks Redis again."""
        self._known.clear()

    async def _ask(self, scope: SemanticScope) -> Verdict | None:
        try:
            told = await self._line.ask("GET", verdict_key(scope))
        except REDIS_TROUBLE:
            return None
        return None if told is None else _read(told)


def _read(told: bytes) -> Verdict | None:
    try:
        return _decoder.decode(told)
    except msgspec.MsgspecError:
        return None


async def publish(redis: Redis, scope: SemanticScope, verdict: Verdict) -> None:
    """Tell every gateway. Raises one of ``REDIS_TROUBLE``."""
    await redis.set(verdict_key(scope), msgspec.json.encode(verdict), px=int(TOLD_FOR * 1000))
