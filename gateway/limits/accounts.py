"""A budget's day in Redis: what was spent, and what is reserved for calls that are on their way.

One hash (``spent``, ``reserved``) and one sorted set of reservations by their time of expiry, for each scope and UTC
day; amounts are whole nanodollars. Every script first lets go of reservations that have expired, at most
``CLEANED`` of them, while it adds at most one: it is bounded and catches up. A worker that was killed blocks its money
until its reservations expire.

**Where a day's spend comes from.** Each script carries a *floor*: the highest spend of that day that its worker knows,
from the ledger or from what Redis itself said before, and ``spent`` is lifted to it. Both never exceed what was really
spent, and lifting takes the maximum and adds nothing, so it may happen any number of times, by any number of workers,
without counting anything twice. So a Redis that was restarted empty, or lost its last second, learns what it forgot,
and what the ledger did not have yet (rows come by the spool) it gets with a later floor. A hash that does not exist is
never made without a floor: a spend of which nobody knows is not zero.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from gateway.limits.buckets import moment
from gateway.limits.ports import Scripts
from gateway.storage.redis_line import Script

CLEANED = 100
KEPT_MILLISECONDS = 3 * 86_400_000
"""Longer than a day and its late bookings."""
_UNKNOWN = -1
_Args = list[str | int | float]

_PRELUDE = f"""
local now = tonumber(ARGV[1])
if now < 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local floor = tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'spent', 'reserved')
if not kept[1] and floor < 0 then return {{-1, 0, 0, 0}} end
local spent, reserved = math.max(tonumber(kept[1] or 0), floor), tonumber(kept[2] or 0)

local function write()
  if redis.call('ZCARD', KEYS[2]) == 0 then reserved = 0 end
  redis.call('HSET', KEYS[1], 'spent', string.format('%.0f', spent), 'reserved', string.format('%.0f', reserved))
  redis.call('PEXPIRE', KEYS[1], {KEPT_MILLISECONDS})
  redis.call('PEXPIRE', KEYS[2], {KEPT_MILLISECONDS})
end

local until_now = string.format('%.0f', now)
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', until_now, 'LIMIT', 0, {CLEANED})) do
  redis.call('ZREM', KEYS[2], member)
  reserved = math.max(reserved - tonumber(string.match(member, ':(%d+)$')), 0)
end
"""

# ARGV: now, floor, limit, reservation, amount, microseconds until it expires.
# Answer: 1 reserved, 0 refused or -1 not known how much was spent; spent, reserved, microseconds until the next expiry.
_RESERVE = Script(
    _PRELUDE
    + """
local limit, amount = tonumber(ARGV[3]), tonumber(ARGV[5])
if spent + reserved + amount > limit then
  write()
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  local wait = 0
  if first[2] then wait = math.max(tonumber(first[2]) - now, 0) end
  return {0, spent, reserved, wait}
end
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[6])), ARGV[4] .. ':' .. ARGV[5])
reserved = reserved + amount
write()
return {1, spent, reserved, 0}
"""
)

# ARGV: now, floor, reservation, amount, what it really cost. An expired reservation's cost is booked all the same.
_SETTLE = Script(
    _PRELUDE
    + """
if redis.call('ZREM', KEYS[2], ARGV[3] .. ':' .. ARGV[4]) == 1 then
  reserved = math.max(reserved - tonumber(ARGV[4]), 0)
end
spent = spent + tonumber(ARGV[5])
write()
return {1, spent, reserved, 0}
"""
)


class State(Struct, frozen=True):
    """A script's answer; money is nanodollars, ``wait`` seconds until the next reservation expires (0: there is none).

    Not ``known``: Redis is empty and no floor was given; nothing was reserved or booked.
    """

    done: bool
    known: bool
    spent: int = 0
    reserved: int = 0
    wait: float = 0.0


class Accounts:
    """``now`` gives seconds since the epoch; None is Redis' time. What the methods return is already under way."""

    def __init__(self, scripts: Scripts, now: Callable[[], float] | None = None) -> None:
        self._scripts = scripts
        self._now = now

    def reserve(
        self, name: str, *, limit: int, hold: str, amount: int, lifetime: float, floor: int | None
    ) -> Awaitable[Any]:
        """Reserve ``amount`` for ``lifetime`` seconds if it fits under ``limit``; read the result with ``state``."""
        args: _Args = [moment(self._now), _floor(floor), limit, hold, amount, round(lifetime * 1_000_000)]
        return self._scripts.run(_RESERVE, _keys(name), args)

    def settle(self, name: str, *, hold: str, amount: int, spent: int, floor: int | None) -> Awaitable[Any]:
        """End the reservation and book what it really cost. Only once: Redis forgets ended ones."""
        args: _Args = [moment(self._now), _floor(floor), hold, amount, spent]
        return self._scripts.run(_SETTLE, _keys(name), args)


def state(reply: Sequence[Any]) -> State:
    """The result of both scripts."""
    code, spent, reserved, wait = (int(one) for one in reply)
    return State(code == 1, code >= 0, spent, reserved, wait / 1_000_000)


@lru_cache(maxsize=4096)
def name_of(kind: str, tenant: str, name: str, day: str) -> str:
    """The name of an account; a scope's days share a slot of a cluster."""
    scope = "/".join(quote(part, safe="", errors="surrogatepass") for part in (kind, tenant, name))
    return f"{{budget/{scope}}}:{day}"


def _keys(name: str) -> tuple[str, str]:
    return f"py:{name}", f"py:{name}:held"


def _floor(floor: int | None) -> int:
    return _UNKNOWN if floor is None else floor
