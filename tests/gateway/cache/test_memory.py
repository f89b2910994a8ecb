"""What is said about a Redis that is nearly full or set up for something else, and when it is said again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cache.memory import Level, RedisMemory, Role, combined, level_of, of_info, read_memory, warnings_of
from gateway.storage.redis_store import REDIS_TROUBLE, connect
from tests.servers import CACHE_ROLE, STATE_ROLE, RedisServer, start_redis

MB = 2**20


def cache(**changes: Any) -> RedisMemory:
    return RedisMemory(**({"used": 10 * MB, "limit": 64 * MB, "share": 0.16, "policy": "allkeys-lru"} | changes))


@pytest.mark.parametrize(
    ("role", "changes", "said"),
    [
        (Role.CACHE, {}, []),
        (Role.CACHE, {"policy": "allkeys-lfu"}, []),
        (Role.CACHE, {"limit": 0, "share": None}, ["has no maxmemory"]),
        (Role.CACHE, {"policy": "noeviction"}, ["refuses new answers"]),
        (Role.CACHE, {"policy": "volatile-ttl"}, ["does not evict the answers used least recently"]),
        (Role.CACHE, {"policy": "allkeys-lru, noeviction"}, ["refuses new answers"]),
        (Role.CACHE, {"policy": ""}, ["does not tell its eviction policy"]),
        (Role.CACHE, {"share": 0.85, "evicted": 7}, ["uses 85 % of its maxmemory (7 answers were evicted"]),
        (Role.CACHE, {"share": 0.8499}, []),
        (Role.CACHE, {"used": 100 * MB, "fragmentation": 2.0}, ["holds 2.0 times"]),
        (Role.CACHE, {"used": 1 * MB, "fragmentation": 9.0}, []),
        (Role.CACHE, {"limit": 0, "share": None, "policy": "noeviction"}, ["has no maxmemory", "refuses new answers"]),
        (Role.STATE, {"policy": "noeviction", "appends": True}, []),
        (Role.STATE, {"policy": "noeviction", "appends": None}, []),
        (Role.STATE, {"policy": "noeviction", "appends": False}, ["no append-only file"]),
        (Role.STATE, {"policy": "allkeys-lru"}, ["may drop limits"]),
        (Role.STATE, {"policy": "noeviction", "share": 0.9}, ["it refuses writes"]),
    ],
)
def test_warnings(role: Role, changes: dict[str, Any], said: list[str]) -> None:
    found = warnings_of(cache(**changes), role)
    assert len(found) == len(said)
    for sentence, part in zip(found, said, strict=True):
        assert part in sentence
        assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("before", "share", "now"),
    [
        (Level.FINE, None, Level.FINE),
        (Level.FINE, 0.849, Level.FINE),
        (Level.FINE, 0.85, Level.WARN),
        (Level.FINE, 0.90, Level.CRITICAL),
        (Level.WARN, 0.84, Level.WARN),
        (Level.WARN, 0.80, Level.WARN),
        (Level.WARN, 0.79, Level.FINE),
        (Level.WARN, 0.91, Level.CRITICAL),
        (Level.CRITICAL, 0.86, Level.CRITICAL),
        (Level.CRITICAL, 0.84, Level.WARN),
        (Level.CRITICAL, 0.5, Level.FINE),
        (Level.CRITICAL, None, Level.FINE),
    ],
)
def test_a_level_is_left_only_well_below_its_threshold(before: Level, share: float | None, now: Level) -> None:
    assert level_of(share, before) is now


def test_what_a_server_leaves_out_is_unknown() -> None:
    assert of_info({"used_memory": 5, "maxmemory": 0}) == RedisMemory(used=5, limit=0)
    told = of_info({"used_memory": 5, "maxmemory": 10, "maxmemory_policy": "noeviction", "aof_enabled": 1})
    assert (told.share, told.policy, told.appends) == (0.5, "noeviction", True)


def test_a_cluster_is_as_full_as_its_fullest_server() -> None:
    found = combined([cache(share=0.2, evicted=1), cache(share=0.9, evicted=2), cache(share=None, limit=0)])
    assert (found.used, found.limit, found.share, found.evicted, found.servers) == (30 * MB, 0, 0.9, 3, 3)
    with pytest.raises(ValueError, match="no server"):
        combined([])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Role, RedisServer]]:
    one = start_redis(tmp_path_factory.mktemp("cache"), *CACHE_ROLE, "--rename-command", "CONFIG", "")
    other = start_redis(tmp_path_factory.mktemp("state"), *STATE_ROLE, "--rename-command", "CONFIG", "")
    yield {Role.CACHE: one, Role.STATE: other}
    one.stop()
    other.stop()


@pytest.mark.parametrize("role", list(Role))
async def test_servers_that_refuse_config_are_read_and_are_fine(servers: dict[Role, RedisServer], role: Role) -> None:
    async with connect(servers[role].url, timeout=1, connections=1) as redis:
        found = await read_memory(redis, 1.0)
    assert found.used > 0
    assert warnings_of(found, role) == ()


async def test_each_is_warned_about_in_the_place_of_the_other(servers: dict[Role, RedisServer]) -> None:
    async with connect(servers[Role.STATE].url, timeout=1, connections=1) as redis:
        assert len(warnings_of(await read_memory(redis, 1.0), Role.CACHE)) == 2
    async with connect(servers[Role.CACHE].url, timeout=1, connections=1) as redis:
        assert len(warnings_of(await read_memory(redis, 1.0), Role.STATE)) == 2


async def test_a_server_that_is_silent_is_trouble(tmp_path: Path) -> None:
    async with connect("redis://127.0.0.1:1/0", timeout=0.2, connections=1) as redis:
        with pytest.raises(REDIS_TROUBLE):
            await read_memory(redis, 0.2)
