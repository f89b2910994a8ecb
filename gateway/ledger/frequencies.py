"""How often live users ask which question: a sorted set per prompt in the state Redis, exponentially decayed.

Forward decay (Cormode, Shkapenyuk, Srivastava and Xu, "Forward Decay", ICDE 2009): a question asked at ``t`` adds
``2^((t - from) / half life)`` to its score, so that no score is ever touched again for time passing; divided by the
weight of now it is the decayed count. Before the numbers get too large, all of a set are scaled to a new ``from``.

The ledger-writer counts what it has shipped, off every answer's way. It is the *state* Redis because a cache that was
emptied is just when somebody needs to know what to warm, and because a set is bounded: ``MOST`` members of at most
``MAX_BYTES`` a prompt, the least asked go first. Losing one loses nothing: the ledger tells the same, more slowly.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

import msgspec
from redis.asyncio import Redis

from gateway.clock import Clock
from gateway.errors import StorageUnavailable
from gateway.ledger.lines import decode_line
from gateway.ledger.records import CALL, NOT_CACHED, asked_by
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.types import Origin

HALF_LIFE = 2 * 86_400.0
"""Seconds after which a question counts half: one of last week counts a tenth."""
MOST = 1_000
MAX_BYTES = 4_000
KEPT_FOR = 30 * 86_400
"""Seconds without a question after which a prompt's counts are forgotten."""
_SCALE_AFTER = 256.0
"""Half lives: a double holds four times as many."""

_COUNT = """
local now, half, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local from = tonumber(redis.call('GET', KEYS[2]) or '')
if not from or redis.call('EXISTS', KEYS[1]) == 0 then
  from = now
elseif (now - from) / half > tonumber(ARGV[5]) then
  redis.call('ZUNIONSTORE', KEYS[1], 1, KEYS[1], 'WEIGHTS', string.format('%.17g', 2 ^ ((from - now) / half)))
  from = now
end
local weight = 2 ^ ((now - from) / half)
for i = 6, #ARGV, 2 do
  redis.call('ZINCRBY', KEYS[1], string.format('%.17g', weight * tonumber(ARGV[i + 1])), ARGV[i])
end
local excess = redis.call('ZCARD', KEYS[1]) - most
if excess > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, excess - 1) end
redis.call('SET', KEYS[2], string.format('%.17g', from), 'EX', ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return redis.call('ZCARD', KEYS[1])
"""


class Asked(msgspec.Struct, frozen=True):
    """What counting needs of a call's record; ``variables`` ask it again."""

    tenant: str
    started_at: float
    origin: str = "live"
    prompt: str = ""
    version: str = ""
    kind: str = "chat"
    status: str = "ok"
    cache_reason: str = ""
    variables: dict[str, str] | None = None
    question: str | None = None

    @property
    def counts(self) -> bool:
        """Live, answered, and asked by variables alone: a message that followed the template cannot be asked again.

        What was to be in no cache is not warmed either.
        """
        return bool(
            self.origin == Origin.LIVE
            and self.kind == "chat"
            and self.status == "ok"
            and self.cache_reason != NOT_CACHED
            and self.prompt
            and self.version
            and self.variables
            and self.question in (None, asked_by(self.variables))
        )


class Frequent(msgspec.Struct, frozen=True):
    """``weight`` is the decayed number of times that it was asked."""

    variables: Mapping[str, str]
    weight: float


Tally = Mapping[tuple[str, str], Mapping[bytes, float]]
"""By (tenant, prompt): question as canonical JSON of its variables, and how often it was asked, as of one moment."""


def asked_in(lines: Iterable[bytes]) -> list[Asked]:
    """The questions among lines of a spool; what is no call of a prompt is left out."""
    found: list[Asked] = []
    for line in lines:
        try:
            envelope = decode_line(line)
            if envelope.kind == CALL:
                found.append(_decode(envelope.record))
        except ValueError:  # the ledger rejects it too, and says so
            continue
    return [one for one in found if one.counts]


def tally(asked: Iterable[Asked], now: float) -> Tally:
    """Pure. A question of an hour ago that reaches the ledger only now counts as one of an hour ago."""
    counts: dict[tuple[str, str], dict[bytes, float]] = defaultdict(lambda: defaultdict(float))
    for one in asked:
        member = msgspec.json.encode(one.variables, order="sorted")
        if len(member) <= MAX_BYTES:
            counts[one.tenant, one.prompt][member] += 2.0 ** (min(0.0, one.started_at - now) / HALF_LIFE)
    return counts


class Frequencies:
    """Counts and reads. ``timeout`` (seconds) bounds each exchange with Redis."""

    def __init__(self, redis: Redis, clock: Clock, *, timeout: float, most: int = MOST) -> None:
        self._redis = redis
        self._clock = clock
        self._timeout = timeout
        self._most = most

    async def add(self, counts: Tally) -> None:
        """Raises StorageUnavailable; a prompt's counts are then added whole or not at all."""
        now = self._clock.now()
        try:
            for (tenant, prompt), members in counts.items():
                arguments: list[str | bytes] = []
                for member, count in members.items():
                    arguments += [member, repr(count)]
                async with asyncio.timeout(self._timeout):
                    fixed = (repr(now), repr(HALF_LIFE), str(self._most), str(KEPT_FOR), repr(_SCALE_AFTER))
                    await self._redis.eval(_COUNT, 2, *_keys(tenant, prompt), *fixed, *arguments)
        except REDIS_TROUBLE as trouble:
            raise _down("count questions") from trouble

    async def top(self, tenant: str, prompt: str, number: int) -> list[Frequent]:
        """The most frequent questions, at most ``number``. Raises StorageUnavailable."""
        if number <= 0:
            return []
        counts, began = _keys(tenant, prompt)
        try:
            async with asyncio.timeout(self._timeout):
                pipe = self._redis.pipeline(transaction=False)
                pipe.zrevrange(counts, 0, number - 1, withscores=True)
                pipe.get(began)
                rows, start = await pipe.execute()
        except REDIS_TROUBLE as trouble:
            raise _down("read frequent questions") from trouble
        if start is None:
            return []
        weight = 2.0 ** ((self._clock.now() - float(start)) / HALF_LIFE)
        return [Frequent(_variables(member), score / weight) for member, score in rows]


def _keys(tenant: str, prompt: str) -> Sequence[str]:
    """The set and what its scores count from, in one slot of a cluster."""
    scope = "/".join(quote(part, safe="", errors="surrogatepass") for part in (tenant, prompt))
    return f"py:{{asked:{scope}}}:counts", f"py:{{asked:{scope}}}:from"


def _down(step: str) -> StorageUnavailable:
    return StorageUnavailable(f"the state Redis did not answer ({step})")


_decode = msgspec.json.Decoder(Asked).decode
_variables = msgspec.json.Decoder(dict[str, str]).decode
