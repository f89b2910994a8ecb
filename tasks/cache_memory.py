"""How full the cache Redis is."""

from dataclasses import dataclass

from gateway.errors import StorageUnavailable
from gateway.settings import Settings
from gateway.storage.redis_store import REDIS_TROUBLE
from tasks.llm import client
from tasks.step import step


@dataclass(frozen=True)
class Memory:
    """Of the cache Redis, in bytes; ``limit`` 0: it has none."""

    used: int
    limit: int
    evicted: int = 0

    @property
    def share(self) -> float | None:
        return self.used / self.limit if self.limit else None


@step("memory of the cache")
def memory(settings: Settings) -> Memory:
    """Raises StorageUnavailable when the cache Redis does not answer."""
    known = client(settings)

    async def ask() -> Memory:
        redis = known.gateway.cache_redis
        try:
            sizes, counts = await redis.info("memory"), await redis.info("stats")
        except REDIS_TROUBLE as trouble:
            raise StorageUnavailable("the cache Redis did not answer (info)") from trouble
        return Memory(int(sizes["used_memory"]), int(sizes.get("maxmemory", 0)), int(counts.get("evicted_keys", 0)))

    return known.run(ask(), patience=30.0)
