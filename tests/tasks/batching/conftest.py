"""The online path of a flow before the simulator, which has both providers' batch APIs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from gateway.ledger.writer import LedgerWriter
from gateway.settings import Settings
from gateway.storage.engine import reading
from gateway.storage.models import CallRow, ProviderBatchRow
from tasks.llm import LlmCall, LlmResult, client
from tasks.specs.model import BackgroundSpec
from tests.gateway_stack import Simulator, simulator
from tests.servers import RedisServer


@dataclass
class BatchYard:
    settings: Settings
    engine: Engine
    simulator: Simulator

    def complete(self, calls: list[LlmCall]) -> list[LlmResult]:
        return client(self.settings).complete(calls, background=BackgroundSpec(batching="batch_api", wait=20.0))

    def counts(self) -> dict[str, int]:
        """Calls by endpoint."""
        found: dict[str, int] = {}
        for row in httpx.get(f"{self.simulator.url}/admin/stats", timeout=10).json()["requests"]:
            found[row["endpoint"]] = found.get(row["endpoint"], 0) + row["count"]
        return found

    def fault(self, **batch: Any) -> None:
        self.simulator.put({"batch": batch})

    def calls(self) -> list[CallRow]:
        with LedgerWriter(self.engine, self.settings.spool_directory, client(self.settings).gateway.clock) as writer:
            while writer.ship():
                pass
        with reading(self.engine) as session:
            return list(session.query(CallRow).order_by(CallRow.id))

    def batches(self) -> list[ProviderBatchRow]:
        with reading(self.engine) as session:
            return list(session.query(ProviderBatchRow).order_by(ProviderBatchRow.created_at))


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def yard(
    settings: Settings, ledger: Engine, redis_pair: tuple[RedisServer, RedisServer], provider: Simulator
) -> Iterator[BatchYard]:
    cache, state = redis_pair
    live = settings.model_copy(
        update={
            "cache_redis_url": cache.url,
            "state_redis_url": state.url,
            "redis_timeout": 5.0,
            "openai_base_url": f"{provider.url}/v1",
            "openai_api_key": SecretStr("test"),
            "anthropic_base_url": provider.url,
            "anthropic_api_key": SecretStr("test"),
        }
    )
    provider.put()
    httpx.delete(f"{provider.url}/admin/stats", timeout=10).raise_for_status()
    online = client(live)

    async def empty() -> None:
        await online.gateway.cache_redis.flushall()

    online.run(empty())
    yield BatchYard(live, ledger, provider)
    online.close()
