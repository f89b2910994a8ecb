"""What a tenant's removal takes away: the questions it asked, and nobody else's."""

from redis.asyncio import Redis

from gateway.cache.inventory import Inventory
from gateway.cache.semantic.index import SimilarIndex
from gateway.cache.semantic.scope import question_of
from gateway.cache.semantic.shelf import Shelf
from gateway.clock import ManualClock
from gateway.storage.redis_line import RedisLine
from tests.gateway.cache.semantic.test_layer import KEPT, ask, version
from tests.gateway.cache.semantic.vectors import unit


async def test_a_tenants_questions_go_with_it(cache_redis: Redis, clock: ManualClock) -> None:
    shelf = Shelf(RedisLine(cache_redis, timeout=1.0), clock=clock, new_index=SimilarIndex)
    parts = [question_of(ask(KEPT, tenant=name), version(), "question", "w").part for name in ("acme", "other")]
    for part in parts:
        assert await shelf.add(part, KEPT, unit(16, 1), clock.now() + 100)
    assert await Inventory(cache_redis).forget_beneath("acme") == 1
    assert [await cache_redis.exists(part) for part in parts] == [0, 1]
