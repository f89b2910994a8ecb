"""How full a Redis is, and whether it is set up for what it holds: a cache evicts the coldest, the state loses nothing.

Everything comes from INFO, which managed services answer too; many of them refuse CONFIG GET.
"""

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct
from redis.asyncio import Redis

from gateway.storage.each_server import servers_of

WARN_AT = 0.85
CRITICAL_AT = 0.90
_RELEASED_BELOW = 0.05
"""How far (share of the limit) it must fall under a threshold before passing it again is news."""
_FRAGMENTED = 1.5
_FRAGMENTED_FROM = 64 * 2**20
"""Bytes: the fixed costs of a small server look like fragmentation."""
_KEEPS_COLDEST = frozenset({"allkeys-lru", "allkeys-lfu"})


class Role(StrEnum):
    """What a Redis is for."""

    CACHE = "cache"
    STATE = "state"


class Level(StrEnum):
    """How near the limit the memory is."""

    FINE = "fine"
    WARN = "warn"
    CRITICAL = "critical"


class RedisMemory(Struct, frozen=True, kw_only=True):
    """Of one server, or of a cluster's masters together (``combined``), in bytes.

    ``limit`` 0: none is set. ``share``: of the fullest server, None without a limit. ``policy``: empty if it was not
    told. ``fragmentation``: resident by used memory, 0.0 if it was not told. ``evicted``: keys since the start.
    ``appends``: whether writes go to an append-only file; None if it was not told.
    """

    used: int
    limit: int
    share: float | None = None
    policy: str = ""
    fragmentation: float = 0.0
    evicted: int = 0
    appends: bool | None = None
    servers: int = 1


async def read_memory(redis: Redis, within: float) -> RedisMemory:
    """Ask each server once, all ``within`` seconds. Raises one of ``REDIS_TROUBLE``."""
    async with asyncio.timeout(within):
        return combined([of_info(await server.info()) for server in await servers_of(redis)])


def of_info(info: Mapping[str, Any]) -> RedisMemory:
    """What one server tells by INFO; sections that it leaves out are unknown."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    appends = info.get("aof_enabled")
    return RedisMemory(
        used=used,
        limit=limit,
        share=used / limit if limit else None,
        policy=str(info.get("maxmemory_policy", "")),
        fragmentation=float(info.get("mem_fragmentation_ratio", 0.0)),
        evicted=int(info.get("evicted_keys", 0)),
        appends=None if appends is None else bool(int(appends)),
    )


def combined(servers: Sequence[RedisMemory]) -> RedisMemory:
    """A cluster is as full as its fullest server; a policy that one of them lacks is shown as ``a, b``.

    Raises ``ValueError`` without any.
    """
    if not servers:
        raise ValueError("no server")
    if len(servers) == 1:
        return servers[0]
    unlimited = any(not one.limit for one in servers)
    told = [one.appends for one in servers if one.appends is not None]
    return RedisMemory(
        used=sum(one.used for one in servers),
        limit=0 if unlimited else sum(one.limit for one in servers),
        share=max((one.share for one in servers if one.share is not None), default=None),
        policy=", ".join(sorted({one.policy for one in servers})),
        fragmentation=max(one.fragmentation for one in servers),
        evicted=sum(one.evicted for one in servers),
        appends=all(told) if told else None,
        servers=len(servers),
    )


def warnings_of(memory: RedisMemory, role: Role) -> tuple[str, ...]:
    """Sentences, each with what to do next; none for a Redis that is set up as it should be and has room."""
    found = _cache_policy(memory) if role is Role.CACHE else _state_policy(memory)
    if memory.share is not None and memory.share >= WARN_AT:
        found.append(_full(memory, role))
    if memory.fragmentation >= _FRAGMENTED and memory.used >= _FRAGMENTED_FROM:
        found.append(
            f"The {role} Redis holds {memory.fragmentation:.1f} times the memory that it uses (fragmentation): "
            "'CONFIG SET activedefrag yes' where it is supported, or a restart, gives it back."
        )
    return tuple(found)


def level_of(
    share: float | None, before: Level = Level.FINE, *, warn_at: float = WARN_AT, critical_at: float = CRITICAL_AT
) -> Level:
    """The level now, given the last one: it is left only when the share has fallen well below its threshold."""
    if share is None:
        return Level.FINE
    if share >= critical_at or (before is Level.CRITICAL and share >= critical_at - _RELEASED_BELOW):
        return Level.CRITICAL
    if share >= warn_at or (before is not Level.FINE and share >= warn_at - _RELEASED_BELOW):
        return Level.WARN
    return Level.FINE


def _cache_policy(memory: RedisMemory) -> list[str]:
    found = []
    if not memory.limit:
        found.append(
            "The cache Redis has no maxmemory: it grows until the machine has none left. "
            "Set one ('CONFIG SET maxmemory 256mb') with the policy allkeys-lru."
        )
    odd = {one for one in memory.policy.split(", ") if one} - _KEEPS_COLDEST
    if odd:
        at_limit = "refuses new answers" if odd == {"noeviction"} else "does not evict the answers used least recently"
        found.append(
            f"The cache Redis has the policy {memory.policy}: when it is full, it {at_limit}. "
            "Set it to allkeys-lru ('CONFIG SET maxmemory-policy allkeys-lru')."
        )
    if not memory.policy:
        found.append(
            "The cache Redis does not tell its eviction policy: make sure with its provider that it is allkeys-lru."
        )
    return found


def _state_policy(memory: RedisMemory) -> list[str]:
    found = []
    if memory.policy not in ("", "noeviction"):
        found.append(
            f"The state Redis has the policy {memory.policy}: it may drop limits, budgets and routing when it is "
            "full. Set it to noeviction, and give the cache a Redis of its own."
        )
    if memory.appends is False:
        found.append(
            "The state Redis writes no append-only file: a restart forgets limits and breakers, and every answer made "
            "from documents misses once. Set 'appendonly yes'."
        )
    return found


def _full(memory: RedisMemory, role: Role) -> str:
    share = f"{100 * (memory.share or 0):.0f} % of its maxmemory"
    if role is Role.STATE:
        return (
            f"The state Redis uses {share}: when it is full, it refuses writes, and limits and document changes with "
            "them. Raise maxmemory."
        )
    return (
        f"The cache Redis uses {share} ({memory.evicted} answers were evicted since it started): raise maxmemory, "
        "shorten the TTL of prompts that hit rarely ('promptyard cache advise'), or let it evict."
    )
