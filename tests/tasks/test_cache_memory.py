"""How full the cache is, in the words of the server itself, and how often people hear of it."""

import pytest

from gateway.cache.memory import Level, RedisMemory
from gateway.errors import StorageUnavailable
from gateway.settings import Settings
from tasks.cache_memory import memory, passed_level
from tests.tasks.conftest import Station


def test_memory_is_said(station: Station) -> None:
    found = memory.fn(station.settings)
    assert found.limit == 64 * 1024 * 1024
    assert found.policy == "allkeys-lru"
    assert found.share is not None
    assert 0 < found.share < 1


def test_no_redis_is_said(settings: Settings) -> None:
    with pytest.raises(StorageUnavailable):
        memory.fn(settings)
    with pytest.raises(StorageUnavailable):
        passed_level.fn(settings, full(0.9))


def full(share: float | None) -> RedisMemory:
    return RedisMemory(used=round(1000 * (share or 0)), limit=1000 if share else 0, share=share)


def test_people_are_told_once_a_level_and_again_only_after_it_was_left(station: Station) -> None:
    shares = [0.5, 0.86, 0.86, 0.84, 0.87, 0.91, 0.89, 0.92, 0.84, 0.91, 0.5, 0.95, None, 0.86]
    told = [passed_level.fn(station.settings, full(share)) for share in shares]
    warn, critical = Level.WARN, Level.CRITICAL
    assert told == [None, warn, None, None, None, critical, None, None, None, critical, None, critical, None, warn]


def test_thresholds_can_be_others(station: Station) -> None:
    passed_level.fn(station.settings, full(None))
    assert passed_level.fn(station.settings, full(0.6), warn_at=0.5) is Level.WARN
    assert passed_level.fn(station.settings, full(0.6), warn_at=0.5, critical_at=0.6) is Level.CRITICAL
