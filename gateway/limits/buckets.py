"""The generic cell rate algorithm (GCRA) in Redis, for any number of buckets of one scope at once.

It is written as the continuous-state leaky bucket, which ITU-T I.371 (annex A) defines as the same algorithm: a level
that leaks at the limit's rate and may not rise above one minute's worth. An idle scope may therefore use a whole minute
at once; over any period of t seconds it gets at most ``limit * (1 + t / 60)``. What costs more than a minute's worth
waits for an empty bucket and then overfills it, so that it is served, and later calls pay.

Time is Redis' own (TIME) by default: workers whose clocks disagree would otherwise leak each other's buckets twice.
A caller's time may be injected, for tests. A jump of Redis' clock by more than a minute (a failover) costs at most the
leak of the time that it jumped over.

A bucket's ``busy`` names the period since it was last empty. What was taken in an earlier period has leaked away as a
whole by now, so nothing of it is given back: giving back would let others take it a second time.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct

from gateway.limits.ports import Scripts
from gateway.storage.redis_line import Script

SERVER_TIME = -1
_MICROSECONDS = 1_000_000

_PRELUDE = """
local now = tonumber(ARGV[1])
if now < 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local MINUTE = 60000000

local function read(key, limit)
  local kept = redis.call('HMGET', key, 'level', 'at', 'busy', 'minute', 'used')
  local level, at = tonumber(kept[1] or 0), tonumber(kept[2] or now)
  if at - now > MINUTE then at = now end
  level = math.max(level - math.max(now - at, 0) * limit / MINUTE, 0)
  at = math.max(at, now)
  local minute = math.floor(at / MINUTE)
  local used = 0
  if tonumber(kept[4] or -1) == minute then used = tonumber(kept[5] or 0) end
  local busy = kept[3]
  if level <= 0 or not busy then busy = string.format('%.0f', at) end
  return {level = level, at = at, busy = busy, minute = minute, used = used}
end

local function write(key, limit, state)
  redis.call('HSET', key, 'level', string.format('%.17g', state.level), 'at', string.format('%.0f', state.at),
    'busy', state.busy, 'minute', string.format('%.0f', state.minute), 'used', string.format('%.0f', state.used))
  redis.call('PEXPIRE', key, math.ceil(state.level / limit * 60000) + 60000)
end
"""

# ARGV: now, then limit, cost and what counts as used for each key. All buckets take it, or none.
# A millionth of a unit is forgiven: it is the rounding of a level that leaked in fractions.
TAKE = Script(
    _PRELUDE
    + """
local wait, which, states = 0, 0, {}
for i = 1, #KEYS do
  local limit, cost = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local state = read(KEYS[i], limit)
  local over = state.level + math.min(cost, limit) - limit
  if over > 0.000001 and over / limit * MINUTE > wait then
    wait, which = over / limit * MINUTE, i
  end
  state.level = state.level + cost
  state.used = state.used + tonumber(ARGV[3 * i + 1])
  states[i] = state
end
if which > 0 then return {math.ceil(wait), which} end
local answer = {0, 0}
for i = 1, #KEYS do
  write(KEYS[i], tonumber(ARGV[3 * i - 1]), states[i])
  answer[2 * i + 1], answer[2 * i + 2] = states[i].busy, states[i].used
end
return answer
"""
)

# ARGV: now, then limit, change of the level, the busy period it was taken in and what counts as used for each key.
CORRECT = Script(
    _PRELUDE
    + """
local answer = {}
for i = 1, #KEYS do
  local limit, change, used = tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i + 1])
  local state = read(KEYS[i], limit)
  if change > 0 or state.busy == ARGV[4 * i] then
    state.level = math.max(state.level + change, 0)
  end
  state.used = state.used + used
  if change ~= 0 or used > 0 then write(KEYS[i], limit, state) end
  answer[i] = state.used
end
return answer
"""
)


class Bucket(Struct, frozen=True):
    """A Redis key and its limit, in units a minute (at least 1)."""

    key: str
    limit: int


class Taken(Struct, frozen=True):
    """The answer to ``take``. ``wait``: 0.0 when all buckets took it, else seconds until it fits if nobody else comes.

    ``which`` is the index of the bucket that has to be waited for; ``busy`` and ``used`` (in this minute of the clock)
    are per bucket and empty when nothing was taken.
    """

    wait: float
    which: int = 0
    busy: tuple[str, ...] = ()
    used: tuple[int, ...] = ()


class Buckets:
    """Takes from buckets and corrects what was taken. ``now`` gives seconds since the epoch; None is Redis' time."""

    def __init__(self, scripts: Scripts, now: Callable[[], float] | None = None) -> None:
        self._scripts = scripts
        self._now = now

    def take(self, buckets: Sequence[Bucket], costs: Sequence[int], used: Sequence[int]) -> Awaitable[Any]:
        """Already under way; read its result with ``taken``. All keys must be of one scope (one hash tag).

        ``used`` is what counts towards the usage of this minute, by which people are warned.
        """
        args: list[str | int | float] = [moment(self._now)]
        for bucket, cost, counted in zip(buckets, costs, used, strict=True):
            args += (bucket.limit, cost, counted)
        return self._scripts.run(TAKE, [bucket.key for bucket in buckets], args)

    def correct(
        self,
        buckets: Sequence[Bucket],
        changes: Sequence[int],
        busy: Sequence[str],
        used: Sequence[int],
        *,
        hurried: bool = True,
    ) -> Awaitable[Any]:
        """What was taken turned out to be more (``changes`` > 0) or less; the result is the usage of this minute."""
        args: list[str | int | float] = [moment(self._now)]
        for bucket, change, period, counted in zip(buckets, changes, busy, used, strict=True):
            args += (bucket.limit, change, period, counted)
        return self._scripts.run(CORRECT, [bucket.key for bucket in buckets], args, hurried=hurried)


def taken(reply: Sequence[Any]) -> Taken:
    """The result of ``Buckets.take``."""
    wait, which, *rest = reply
    if wait:
        return Taken(int(wait) / _MICROSECONDS, int(which) - 1)
    return Taken(0.0, 0, tuple(map(_text, rest[::2])), tuple(map(int, rest[1::2])))


def moment(now: Callable[[], float] | None) -> int:
    """Microseconds since the epoch for a script, or ``SERVER_TIME``."""
    return SERVER_TIME if now is None else round(now() * _MICROSECONDS)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
