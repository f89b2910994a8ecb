"""How full the cache is, in the words of the server itself."""

import pytest

from gateway.errors import StorageUnavailable
from gateway.settings import Settings
from tasks.cache_memory import Memory, memory
from tests.tasks.conftest import Station


def test_memory_is_said(station: Station) -> None:
    found = memory.fn(station.settings)
    assert found.limit == 64 * 1024 * 1024
    assert found.share is not None
    assert 0 < found.share < 1


def test_without_a_limit_there_is_no_share() -> None:
    assert Memory(used=10, limit=0).share is None


def test_no_redis_is_said(settings: Settings) -> None:
    with pytest.raises(StorageUnavailable):
        memory.fn(settings)
