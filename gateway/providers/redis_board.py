"""The workers' board in the state Redis.

One hash holds what was learned last about each circuit: ``o:<probe from, ms>:<stamp>`` or ``c:<since, ms>:<stamp>``.
Each worker exchanges news with it four times a second, in one script that also takes what the worker has learned, so
calls never wait for it. Only a probe makes a trip of its own: its claim is a key (SET NX PX) that the worker renews
while it holds it, so the claim of a killed worker is gone after ``CLAIM_SECONDS``. All times are Redis's.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from urllib.parse import quote

from redis.asyncio import Redis

from gateway.providers.breaker_board import LOOK_EVERY, Claim, Listener
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.types import ModelRef

CLAIM_SECONDS = 2.0
_KEY = "py:{breaker}:circuits"
_MOST_CIRCUITS = 4096
_FORGET_AFTER_MS = 600_000
_MOST_NEWS = 1024

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""
# ARGV: claims' lifetime in ms, number of claims; a token and 1 (renew) or 0 (give back) for each claim of KEYS[2..];
# then, for each circuit: name, 'o' or 'c', ms from now.
_EXCHANGE = f"""{_NOW}
local claims = tonumber(ARGV[2])
for i = 1, claims do
  local key = KEYS[i + 1]
  if redis.call('GET', key) == ARGV[2 * i + 1] then
    if ARGV[2 * i + 2] == '1' then redis.call('PEXPIRE', key, ARGV[1]) else redis.call('DEL', key) end
  end
end
for i = 2 * claims + 3, #ARGV, 3 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 or redis.call('HLEN', KEYS[1]) < {_MOST_CIRCUITS} then
    local at = string.format('%.0f', now + tonumber(ARGV[i + 2]))
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ':' .. at .. ':' .. clock[1] .. '.' .. clock[2])
    redis.call('PEXPIRE', KEYS[1], 2 * {_FORGET_AFTER_MS})
  end
end
local known, news = redis.call('HGETALL', KEYS[1]), {{}}
for i = 1, #known, 2 do
  local at = tonumber(string.match(known[i + 1], '^%a:(%d+):'))
  if not at or at + {_FORGET_AFTER_MS} < now then
    redis.call('HDEL', KEYS[1], known[i])
  else
    news[#news + 1] = known[i]
    news[#news + 1] = known[i + 1]
    news[#news + 1] = at - now
  end
end
return news
"""
# KEYS: circuits, claim. ARGV: name, token, lifetime in ms.
_CLAIM = f"""{_NOW}
local state, at = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%a):(%d+):')
if state == 'c' then return 'closed' end
if state == 'o' and tonumber(at) > now then return 'refused' end
if redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return 'granted' end
return 'refused'
"""


class RedisBoard:
    """See ``BreakerBoard``. ``start`` it in the running loop, ``stop`` it before the client is closed.

    ``timeout`` (seconds) bounds each trip. While Redis does not answer, every claim is granted and news are lost.
    """

    def __init__(self, redis: Redis, *, timeout: float) -> None:
        self._timeout = timeout
        self._exchange = redis.register_script(_EXCHANGE)
        self._claim = redis.register_script(_CLAIM)
        self._listeners: dict[str, Listener] = {}
        self._seen: Mapping[bytes, bytes] = {}
        self._news: dict[str, tuple[str, int]] = {}
        self._held: dict[str, str] = {}
        self._given_back: list[tuple[str, str]] = []
        self._something_to_tell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Learns what is known already, then goes on exchanging."""
        await self.exchange()
        self._task = asyncio.create_task(self._go_on(), name="breaker board")

    async def stop(self) -> None:
        """Tells what is left to tell."""
        self._stopping = True  # a cancellation may get lost within a command: see ``claim``
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self.exchange()

    def listen(self, provider: str, listener: Listener) -> None:
        self._listeners[provider] = listener

    async def claim(self, ref: ModelRef) -> Claim:
        name, token = str(ref), secrets.token_hex(8)
        cancelled = _cancellations()
        self._held[name] = token  # before the trip: when it is cut short, whatever was set can be given back
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._claim(keys=[_KEY, _claim_key(name)], args=[name, token, _ms(CLAIM_SECONDS)])
        except REDIS_TROUBLE:
            return Claim.GRANTED
        if _cancellations() > cancelled:
            # redis-py sends through asyncio.wait_for, which until Python 3.12 may swallow a cancellation
            raise asyncio.CancelledError
        claim = Claim(bytes(answer).decode())
        if claim is not Claim.GRANTED:
            del self._held[name]
        return claim

    def opened(self, ref: ModelRef, cooldown: float) -> None:
        self._tell(ref, ("o", _ms(cooldown)))

    def closed(self, ref: ModelRef) -> None:
        self._tell(ref, ("c", 0))

    def released(self, ref: ModelRef) -> None:
        self._tell(ref, None)

    async def exchange(self) -> None:
        """One trip: tell what was learned here, renew or give back claims, hear what was learned elsewhere."""
        self._something_to_tell.clear()
        news, self._news = self._news, {}
        claims = [(name, token, 0) for name, token in self._given_back]
        claims += [(name, token, 1) for name, token in self._held.items()]
        self._given_back = []
        keys = [_KEY, *(_claim_key(name) for name, _, _ in claims)]
        args: list[str | int] = [_ms(CLAIM_SECONDS), len(claims)]
        for _, token, keep in claims:
            args += [token, keep]
        for name, (state, ms) in news.items():
            args += [name, state, ms]
        try:
            async with asyncio.timeout(self._timeout):
                known = await self._exchange(keys=keys, args=args)
        except REDIS_TROUBLE:
            return
        self._hear(known, set(news))

    async def _go_on(self) -> None:
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._something_to_tell.wait()
            await self.exchange()

    def _tell(self, ref: ModelRef, news: tuple[str, int] | None) -> None:
        name = str(ref)
        if token := self._held.pop(name, None):
            self._given_back.append((name, token))
        if news is not None and (name in self._news or len(self._news) < _MOST_NEWS):
            self._news[name] = news
        self._something_to_tell.set()

    def _hear(self, known: list[bytes | int], own: set[str]) -> None:
        seen: dict[bytes, bytes] = {}
        for name, value, ms in zip(known[::3], known[1::3], known[2::3], strict=True):
            assert isinstance(name, bytes)  # noqa: S101 (by the script)
            assert isinstance(value, bytes)  # noqa: S101
            seen[name] = value
            circuit = name.decode()
            if self._seen.get(name) == value or circuit in own or circuit in self._news:
                continue  # nothing new, or what was learned here is newer
            ref = ModelRef.parse(circuit)
            if listener := self._listeners.get(ref.provider):
                listener(ref.model, int(ms) / 1000 if value.startswith(b"o") else None)
        self._seen = seen


def _cancellations() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _claim_key(name: str) -> str:
    return "py:{breaker}:probe:" + quote(name, safe="", errors="surrogatepass")


def _ms(seconds: float) -> int:
    return max(0, int(seconds * 1000))
