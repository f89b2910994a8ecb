"""The epoch of a collection: the token under which answers made from its documents are valid.

One hash per collection in the state Redis: ``epoch``, and one field ``p:<token>`` for each change that is under way,
holding its deadline. An answer counts only if the epoch it was begun under is still the current one, so a change needs
no list of what it makes invalid: it replaces the epoch, in O(1). Each script is atomic.

Deadlines are set and read by the workers' own clocks. A reader whose clock runs ahead may take a mark away early:
that is safe, because ``publish`` sets a new epoch whether or not its mark is still there.
"""

import asyncio
import secrets
from collections.abc import Callable
from urllib.parse import quote

from redis.asyncio import Redis

from gateway.clock import Clock
from gateway.errors import StorageUnavailable
from gateway.storage.line import Line, line_for
from gateway.storage.redis_line import Script
from gateway.storage.redis_store import GENERATION_KEY, REDIS_TROUBLE

UNKNOWN = ""
"""No epoch: a change is under way, or Redis does not answer. Then the cache neither answers nor keeps."""

PENDING_SECONDS = 30.0

# The new epoch is set before the marks are removed: were the script to stop between the two (out of memory), the
# collection would stay unknown instead of going back to its old epoch.
_CURRENT = Script("""
local generation = redis.call('GET', KEYS[2])
if not generation then
  generation = ARGV[2]
  redis.call('SET', KEYS[2], generation)
end
local epoch, expired = false, {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if fields[i] == 'epoch' then
    epoch = fields[i + 1]
  elseif tonumber(fields[i + 1]) > tonumber(ARGV[1]) then
    return ''
  else
    expired[#expired + 1] = fields[i]
  end
end
if not epoch or #expired > 0 then
  epoch = ARGV[2]
  redis.call('HSET', KEYS[1], 'epoch', epoch)
  for i = 1, #expired do redis.call('HDEL', KEYS[1], expired[i]) end
end
return generation .. '.' .. epoch
""")

_PUBLISH = """
local generation = redis.call('GET', KEYS[2])
if not generation then
  generation = ARGV[2]
  redis.call('SET', KEYS[2], generation)
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
redis.call('HDEL', KEYS[1], ARGV[1])
return generation .. '.' .. ARGV[2]
"""


def random_token() -> str:
    """64 random bits (hex): no two epochs are ever the same, whatever a Redis has forgotten."""
    return secrets.token_hex(8)


class Epochs:
    """Reads and changes epochs. ``timeout`` (seconds) bounds every method; safe to share within one event loop."""

    def __init__(
        self,
        redis: Redis,
        *,
        clock: Clock,
        timeout: float,
        pending_for: float = PENDING_SECONDS,
        token: Callable[[], str] = random_token,
        line: Line | None = None,
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._timeout = timeout
        self._pending_for = pending_for
        self._token = token
        self._line = line or line_for(redis, timeout=timeout)
        self._publish = redis.register_script(_PUBLISH)

    async def current(self, tenant: str, collection: str) -> str:
        """``<generation>.<epoch>``, or ``UNKNOWN``. Never raises; one round-trip.

        A missing epoch, and one whose pending marks have all expired, is replaced by a random one: concurrent readers
        then agree on it.
        """
        keys = [_key(tenant, collection), GENERATION_KEY]
        try:
            answer = await self._line.run(_CURRENT, keys, [self._milliseconds(), self._token()])
        except REDIS_TROUBLE:
            return UNKNOWN
        return bytes(answer).decode()

    async def begin(self, tenant: str, collection: str) -> str:
        """Mark a change as under way, before it is committed; returns the token that takes the mark back.

        While a mark stands, ``current`` is ``UNKNOWN``. A mark that nobody takes back expires after ``pending_for``
        seconds. Raises StorageUnavailable; then a mark may stand all the same, until it expires.
        """
        token = self._token()
        deadline = self._milliseconds(self._pending_for)
        try:
            async with asyncio.timeout(self._timeout):
                await self._redis.hset(_key(tenant, collection), _mark(token), str(deadline))
        except REDIS_TROUBLE as trouble:
            raise _down("begin") from trouble
        return token

    async def publish(self, tenant: str, collection: str, token: str) -> str:
        """The change is committed, or may be: set a new epoch (returned) and take the mark back.

        Also right when the mark has expired. Raises StorageUnavailable: then do not acknowledge the change.
        """
        keys = [_key(tenant, collection), GENERATION_KEY]
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._publish(keys=keys, args=[_mark(token), self._token()])
        except REDIS_TROUBLE as trouble:
            raise _down("publish") from trouble
        return bytes(answer).decode()

    async def abandon(self, tenant: str, collection: str, token: str) -> None:
        """Nothing has changed, for certain: take the mark back and leave the epoch. Raises StorageUnavailable."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._redis.hdel(_key(tenant, collection), _mark(token))
        except REDIS_TROUBLE as trouble:
            raise _down("abandon") from trouble

    def _milliseconds(self, ahead: float = 0.0) -> int:
        return int((self._clock.now() + ahead) * 1000)


def _key(tenant: str, collection: str) -> str:
    return "py:{epoch}:" + "/".join(quote(part, safe="", errors="surrogatepass") for part in (tenant, collection))


def _mark(token: str) -> str:
    return f"p:{token}"


def _down(step: str) -> StorageUnavailable:
    return StorageUnavailable(f"the state Redis did not answer ({step} of a change to a collection)")
