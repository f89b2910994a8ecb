"""How full the cache Redis is, and telling people once when it becomes fuller than it should be."""

from typing import Any

from gateway.cache.memory import CRITICAL_AT, WARN_AT, Level, RedisMemory, level_of, read_memory
from gateway.errors import StorageUnavailable
from gateway.settings import Settings
from gateway.storage.redis_store import REDIS_TROUBLE
from tasks.alerts import alert
from tasks.llm import client
from tasks.step import step

LEVEL_KEY = "py:cache:memory_level"
"""In the state Redis: the level that was seen last. Without it people are told once more."""
_PATIENCE = 30.0
_HEIGHT = {Level.FINE: 0, Level.WARN: 1, Level.CRITICAL: 2}


@step("memory of the cache")
def memory(settings: Settings) -> RedisMemory:
    """Raises StorageUnavailable when the cache Redis does not answer."""
    known = client(settings)

    async def ask() -> RedisMemory:
        try:
            return await read_memory(known.gateway.cache_redis, 10.0)
        except REDIS_TROUBLE as trouble:
            raise StorageUnavailable("the cache Redis did not answer (info)") from trouble

    return known.run(ask(), patience=_PATIENCE)


@step("level of the cache's memory")
def passed_level(
    settings: Settings, held: RedisMemory, *, warn_at: float = WARN_AT, critical_at: float = CRITICAL_AT
) -> Level | None:
    """The level that the memory has just risen to, None where nobody needs to be told. Remembers what it saw.

    Of several runs at once, one is told. Raises StorageUnavailable when the state Redis does not answer.
    """
    known = client(settings)

    async def compare() -> Level | None:
        redis = known.gateway.state_redis
        try:
            level = level_of(held.share, _level(await redis.get(LEVEL_KEY)), warn_at=warn_at, critical_at=critical_at)
            before = _level(await redis.set(LEVEL_KEY, level.value, get=True))
        except REDIS_TROUBLE as trouble:
            raise StorageUnavailable("the state Redis did not answer (level of the cache's memory)") from trouble
        return level if _HEIGHT[level] > _HEIGHT[before] else None

    return known.run(compare(), patience=_PATIENCE)


def alert_memory(
    settings: Settings, held: RedisMemory, *, warn_at: float = WARN_AT, critical_at: float = CRITICAL_AT
) -> Level | None:
    """Tell people, once per level that is passed upwards: at 85 and 90 % unless told otherwise. Returns the level.

    A level counts as left only when the memory is well below it, so that one that hovers is said once.
    """
    level = passed_level(settings, held, warn_at=warn_at, critical_at=critical_at)
    if level is not None:
        used, limit = held.used / 1e6, held.limit / 1e6
        alert(
            settings,
            "cache_memory",
            f"the cache uses {held.share or 0:.0%} of its memory ({used:.1f} of {limit:.1f} MB); "
            f"{held.evicted} answers were evicted since it started. Raise maxmemory, or shorten the TTL of prompts "
            "that hit rarely ('promptyard cache advise').",
            level=level.value,
        )
    return level


def _level(stored: Any) -> Level:
    try:
        return Level(stored.decode() if isinstance(stored, bytes) else stored)
    except ValueError:
        return Level.FINE
