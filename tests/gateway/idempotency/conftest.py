from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from tests.gateway.idempotency.workers import Worker


@pytest.fixture
async def one(engine: Engine, clock: ManualClock) -> AsyncIterator[Worker]:
    worker = Worker(engine, clock, "one")
    yield worker
    await worker.idempotency.settle()


@pytest.fixture
async def two(engine: Engine, clock: ManualClock) -> AsyncIterator[Worker]:
    """Another worker on the same database."""
    worker = Worker(engine, clock, "two")
    yield worker
    await worker.idempotency.settle()
