"""Memory: more answers than fit. A Redis that must not evict refuses new ones; one without a limit only grows."""

import asyncio
import random

from deployments.drills.outcome import Figures, Outcome, judged
from deployments.drills.parts import Unchanging
from deployments.drills.yard import Yard, yard
from gateway.cache.exact import ExactCache
from gateway.cache.memory import RedisMemory, Role, read_memory, warnings_of
from gateway.cache.rules import KEPT
from gateway.storage.redis_store import connect
from gateway.types import Reply, Usage

_LIMIT_MB = 8
_ANSWER = 1_500
"""Characters of an answer; they are random, so that no entry is smaller than its like."""
_NEWEST = 200
_AT_ONCE = 500
_FULL = ("--maxmemory", f"{_LIMIT_MB}mb", "--maxmemory-policy")


async def run(entries: int) -> Outcome:
    """``entries`` answers under a limit that fewer fit in; the eviction policy is what is left out."""
    async with yard(cache_options=(*_FULL, "noeviction")) as place:
        without = await _fill(place, entries)
    async with yard(cache_options=(*_FULL, "allkeys-lru")) as place:
        protected = await _fill(place, entries)
    return judged(
        "memory",
        f"{entries} answers of {_ANSWER} characters, a cache Redis of {_LIMIT_MB} MB",
        "the policy allkeys-lru (noeviction instead, as a Redis is by default)",
        without=without,
        protected=protected,
        fails=lambda one: one["refused"] > 0 and one["newest found (%)"] < 50,
        holds=lambda one: (
            one["refused"] == 0
            and one["evicted"] > 0
            and one["newest found (%)"] > 75  # Redis draws a few keys and evicts the coldest of these
            and one["memory (MB)"] <= _LIMIT_MB * 1.05
        ),
    )


async def _fill(place: Yard, entries: int) -> Figures:
    redis = connect(place.cache_redis.url, timeout=5.0, connections=4)
    cache = ExactCache(redis, Unchanging(), clock=place.clock, entropy=random.SystemRandom(), timeout=5.0)
    drawn = random.Random(7)  # noqa: S311 (what the answers say is no secret)
    kept, most = 0, 0
    try:
        for start in range(0, entries, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, entries))
            said = await asyncio.gather(
                *(cache.keep(place.call(f"question {number}"), _reply(drawn)) for number in numbers)
            )
            kept += said.count(KEPT)
            most = max(most, (await read_memory(redis, 5.0)).used)
        newest = range(max(0, entries - _NEWEST), entries)
        looks = await asyncio.gather(*(cache.find(place.call(f"question {number}")) for number in newest))
        memory: RedisMemory = await read_memory(redis, 5.0)
    finally:
        await redis.aclose()
    return {
        "kept": kept,
        "refused": entries - kept,
        "evicted": memory.evicted,
        "memory (MB)": most / 2**20,
        "newest found (%)": 100 * sum(look.reply is not None for look in looks) / len(newest),
        "warnings of readyz": len(warnings_of(memory, Role.CACHE)),
    }


def _reply(drawn: random.Random) -> Reply:
    text = drawn.randbytes(_ANSWER // 2).hex()
    return Reply(
        message={"role": "assistant", "content": text},
        finish_reason="stop",
        provider="openai",
        model="gpt-4.1-mini",
        usage=Usage(input_tokens=400, output_tokens=100),
    )
