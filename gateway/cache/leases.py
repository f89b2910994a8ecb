"""Which worker makes an answer that several are asked for: a lease, and messages between those who wait and who works.

Everything is in the cache Redis: losing it costs a second upstream call, never a wrong answer. A lease is a key that
its holder renews; who finds it taken is put on its list in the same script, so that no holder lands in between and
leaves it waiting. Messages go by pub/sub, one channel a worker: they may be lost, so a follower never waits longer
than the lease it has seen may live (PTTL), and then asks again.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct, field
from redis.asyncio import Redis

from gateway.cache.flight_messages import JOIN, Message, decode, encode
from gateway.storage.line import Line
from gateway.storage.redis_line import Script
from gateway.storage.redis_store import REDIS_TROUBLE

LEASE_SECONDS = 3.0
"""Without news of its holder a flight is taken over after this long; a holder renews it three times as often."""
LANDED_SECONDS = 1.0
"""How long a flight that has landed tells latecomers, who missed its answer in the cache, to look again."""
_LISTEN_AGAIN_AFTER = 0.5
_ASK_AGAIN_AFTER = 1.0
"""Seconds for which a Redis that was silent costs no further call a time-out of its own."""
_MOST_BYTES = 16 * 1024 * 1024
_MOST_HELD = 10_000
_GRANTED, _LANDED = 1, 2

log = logging.getLogger(__name__)

# A holder is "<channel>|<token>". KEYS: lease, list of followers. ARGV: holder, lifetime in ms, own channel, what to
# tell the holder, '1' to take a lease that has landed too. Who waited for a dead holder goes on waiting for the next.
_ASK = Script("""
local held = redis.call('GET', KEYS[1])
if not held or (held == 'landed' and ARGV[5] == '1') then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return {1, 0, ''}
end
if held == 'landed' then return {2, 0, ''} end
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], 20 * ARGV[2])
local channel = string.match(held, '^(.-)|')
if channel then redis.call('PUBLISH', channel, ARGV[4]) end
return {0, redis.call('PTTL', KEYS[1]), held}
""")
# KEYS: lease. ARGV: holder, lifetime in ms. A lease that was evicted is taken anew, if nobody else has it by now.
_RENEW = Script("""
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")
# ARGV: holder, ms for which it has landed (0: it has not, whoever comes may try). The channels of the followers.
_LEAVE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {} end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], 'landed', 'PX', ARGV[2]) end
local waiting = redis.call('SMEMBERS', KEYS[2])
redis.call('DEL', KEYS[2])
return waiting
""")


class Lease(Struct, eq=False):
    """Held by this worker. ``listeners`` are the channels that want to hear the answer as it goes."""

    flight: str
    holder: str
    listeners: set[str] = field(default_factory=set)


class Taken(Struct, frozen=True):
    """Somebody else works, and is dead unless heard of within ``seconds``; or has ``landed``: look into the cache."""

    seconds: float = 0.0
    landed: bool = False
    holder: str = ""


class Leases(Protocol):
    """Between workers. Nothing raises."""

    def listen(self, hear: Callable[[Message], None]) -> None:
        """Who is told of messages to this worker."""
        ...

    async def ask(self, flight: str, *, landed_too: bool = False) -> Lease | Taken | None:
        """The right to work, or who has it; None: nobody can be asked, everybody works for himself.

        Who has it is told that somebody here listens. ``landed_too``: work again although it has landed.
        """
        ...

    async def leave(self, lease: Lease, *, landed: bool) -> set[str]:
        """Give the lease back: the channels of those who wait. ``landed``: the answer is in the cache."""
        ...

    def tell(self, channels: set[str], message: Message) -> None:
        """Under way when it returns; may be lost."""
        ...


class RedisLeases:
    """See ``Leases``. ``start`` it in the running loop, ``stop`` it before the client is closed.

    Keys are ``py:f:{<scope>}:...``: ``flight`` brings the braces. While messages cannot be heard nothing is shared.
    """

    def __init__(self, redis: Redis, line: Line, *, instance: str, lease_seconds: float = LEASE_SECONDS) -> None:
        self._lease_ms = int(lease_seconds * 1000)
        self._redis = redis
        self._line = line
        self._channel = f"py:flights:{instance}"
        self._hear: Callable[[Message], None] = lambda message: None
        self._held: dict[str, Lease] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = asyncio.Event()
        self._silent_until = 0.0

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._listen(), name="flights: messages"),
            asyncio.create_task(self._renew(), name="flights: leases"),
        ]
        with contextlib.suppress(TimeoutError):  # without messages the worker shares nothing, and answers
            async with asyncio.timeout(1.0):
                await self._listening.wait()

    async def stop(self) -> None:
        pending = set(self._tasks)
        while pending:  # a cancellation that meets the end of a wait inside of a library may be lost: ask again
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)
        self._tasks = []

    def listen(self, hear: Callable[[Message], None]) -> None:
        self._hear = hear

    async def ask(self, flight: str, *, landed_too: bool = False) -> Lease | Taken | None:
        now = asyncio.get_running_loop().time()
        if not self._listening.is_set() or len(self._held) >= _MOST_HELD or now < self._silent_until:
            return None
        holder = f"{self._channel}|{secrets.token_hex(8)}"
        join = encode(Message(JOIN, flight, self._channel))
        try:
            code, ms, held = await self._line.run(
                _ASK, _keys(flight), [holder, self._lease_ms, self._channel, join, "1" if landed_too else ""]
            )
        except REDIS_TROUBLE:
            self._silent_until = now + _ASK_AGAIN_AFTER
            return None
        if code == _GRANTED:
            lease = self._held[flight] = Lease(flight, holder)
            return lease
        if code == _LANDED:
            return Taken(landed=True)
        return Taken(max(0, int(ms)) / 1000, holder=bytes(held).decode(errors="replace"))

    async def leave(self, lease: Lease, *, landed: bool) -> set[str]:
        if self._held.get(lease.flight) is lease:
            del self._held[lease.flight]
        try:
            waiting = await self._line.run(
                _LEAVE, _keys(lease.flight), [lease.holder, int(LANDED_SECONDS * 1000) if landed else 0]
            )
        except REDIS_TROUBLE:
            return set(lease.listeners)
        return lease.listeners | {bytes(channel).decode() for channel in waiting}

    def tell(self, channels: set[str], message: Message) -> None:
        if not channels:
            return
        data = encode(message)
        if len(data) > _MOST_BYTES:
            return  # they find it in the cache, or ask for it themselves
        for channel in channels:
            self._line.ask("PUBLISH", channel, data).add_done_callback(_seen)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            for lease in list(self._held.values()):
                asked = self._line.run(_RENEW, _keys(lease.flight)[:1], [lease.holder, self._lease_ms])
                asked.add_done_callback(_seen)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(self._channel)
                    self._listening.set()
                    while True:
                        got = await channel.get_message(ignore_subscribe_messages=True, timeout=5.0)
                        if got and (message := decode(got["data"])) is not None:
                            self._receive(message)
            except REDIS_TROUBLE:
                self._listening.clear()
                await asyncio.sleep(_LISTEN_AGAIN_AFTER)

    def _receive(self, message: Message) -> None:
        if message.kind == JOIN:
            lease = self._held.get(message.flight)
            if lease is None or not isinstance(message.body, str) or not message.body.startswith("py:flights:"):
                return
            lease.listeners.add(message.body)
        try:
            self._hear(message)
        except Exception:  # what one worker sends must not end what another one hears
            log.exception("a message of another worker could not be used")


def _seen(done: "asyncio.Future[object]") -> None:
    if not done.cancelled():
        done.exception()


def _keys(flight: str) -> list[str]:
    return [f"py:f:{flight}", f"py:f:{flight}:w"]
