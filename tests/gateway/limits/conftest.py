"""Workers over one real state Redis, and a ledger and an outbox that are told what to say."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable
from gateway.limits.build import LimitRoom, build_limits
from gateway.limits.limits import Limits
from gateway.settings import LimitSettings, ModelLimits, Settings
from gateway.storage.redis_line import RedisLine
from gateway.storage.redis_store import connect
from gateway.types import Call, Cost, KeyLimits, ModelRef, Origin, PromptVersion, Usage
from tests.servers import STATE_ROLE, RedisServer, start_redis

PER_TOKEN = Decimal("0.000001")
"""What every token of a known model costs, in or out; a model called ``mystery`` has no known price."""


def price(provider: str, model: str, usage: Usage, at: float) -> Cost:
    return Cost(None if model == "mystery" else PER_TOKEN * (usage.input_tokens + usage.output_tokens))


VERSION = PromptVersion(
    tenant="acme",
    name="help-centre",
    version="1.0.0",
    digest="d",
    template=({"role": "user", "content": "{{question}}"},),
    chain=(ModelRef("openai", "small"),),
)


def a_call(
    *,
    requests: int | None = None,
    tokens: int | None = None,
    key_usd: float | None = None,
    prompt_usd: float | None = None,
    at: float = 1_700_000_000.0,
    max_tokens: int = 900,
    origin: Origin = Origin.LIVE,
    key_id: str = "key_1",
    model: str = "small",
) -> Call:
    """Costs at most ``max_tokens`` + about 110 millionths of a dollar."""
    return Call(
        id="call_1",
        tenant="acme",
        received_at=at,
        key_id=key_id,
        limits=KeyLimits(requests, tokens, key_usd),
        origin=origin,
        prompt="help-centre",
        rendered=({"role": "user", "content": "Hello"},),
        params={"max_tokens": max_tokens},
        version=structs.replace(VERSION, daily_budget_usd=prompt_usd),
        chain=(ModelRef("openai", model),),
    )


@dataclass
class FakeLedger:
    """Says ``spent`` until it is ``down``."""

    spent: Decimal = Decimal(0)
    down: bool = False
    asked: list[tuple[str, date, str | None, str | None]] = field(default_factory=list)

    def __call__(
        self, tenant: str, day: date, *, prompt: str | None = None, key_id: str | None = None, mirrored: bool = False
    ) -> Decimal:
        self.asked.append((tenant, day, prompt, key_id))
        if self.down:
            raise StorageUnavailable("SQL is down")
        return self.spent


@dataclass
class FakeOutbox:
    """Remembers each occasion's first event, as the real one does."""

    events: dict[tuple[str, ...], Mapping[str, Any]] = field(default_factory=dict)
    down: bool = False

    def __call__(self, event: str, resource: str, payload: Mapping[str, Any], occasion: Sequence[str]) -> bool:
        if self.down:
            raise StorageUnavailable("SQL is down")
        new = tuple(occasion) not in self.events
        self.events.setdefault(tuple(occasion), {"event": event, "resource": resource, **payload})
        return new

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(one["kind"], one["level"]) for one in self.events.values()]


@dataclass
class Worker:
    """One gateway process' limits."""

    room: LimitRoom
    registry: CollectorRegistry
    redis: Redis

    @property
    def limits(self) -> Limits:
        return self.room.limits

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"promptyard_{name}_total", labels) or 0.0


Workers = Callable[..., Worker]


@pytest.fixture(scope="session")
def state_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("limits-redis"), *STATE_ROLE)
    yield server
    server.stop()


@pytest.fixture
async def state_redis(state_server: RedisServer) -> AsyncIterator[Redis]:
    async with connect(state_server.url, timeout=1.0, connections=4) as redis:
        await redis.flushall()
        yield redis


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


@pytest.fixture
def outbox() -> FakeOutbox:
    return FakeOutbox()


@pytest.fixture
async def workers(
    state_redis: Redis, state_server: RedisServer, clock: ManualClock, ledger: FakeLedger, outbox: FakeOutbox
) -> AsyncIterator[Workers]:
    """Makes workers; each has connections of its own, and all of them the test's clock."""
    async with AsyncExitStack() as opened:

        def make(
            *,
            url: str = state_server.url,
            models: Mapping[str, ModelLimits] | None = None,
            server_time: bool = False,
            **chosen: Any,
        ) -> Worker:
            async def sleep(seconds: float) -> None:
                clock.advance(seconds)
                await asyncio.sleep(0)

            redis = connect(url, timeout=1.0, connections=4)
            registry = CollectorRegistry()
            room = build_limits(
                Settings(limits=LimitSettings(**chosen), model_limits=dict(models or {})),
                RedisLine(redis, timeout=1.0),
                price=price,
                spent_on=ledger,
                announce=outbox,
                registry=registry,
                clock=clock,
                now=None if server_time else clock.now,
                sleep=sleep,
            )
            opened.push_async_callback(redis.aclose)
            opened.push_async_callback(room.aclose)
            return Worker(room, registry, redis)

        yield make


@pytest.fixture
def worker(workers: Workers) -> Worker:
    return workers()


@pytest.fixture
async def dead_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Nobody answers there: the connection is refused."""
    return "redis://127.0.0.1:1/0"
