"""What tests of I/O tasks share: a temporary home with a migrated SQLite, and the real online path on real Redis."""

from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from gateway.cache.inventory import Kept
from gateway.clock import new_id
from gateway.compose import Gateway
from gateway.ledger.writer import LedgerWriter
from gateway.settings import Settings
from gateway.types import Answer, Call, ModelRef, PromptVersion, RetrievalPolicy, Variable
from tasks.llm import client
from tasks.registration import engine_of
from tests.servers import CACHE_ROLE, STATE_ROLE, RedisServer, start_redis
from tests.tasks.echo_provider import EchoServer, echo_provider
from tests.tasks.rows import add, prompt_rows

T = TypeVar("T")


@pytest.fixture
def settings(ledger_url: str, tmp_path: Path) -> Settings:
    """No server behind it but SQL."""
    return Settings(
        home=tmp_path,
        database_url=ledger_url,
        cache_redis_url="redis://127.0.0.1:1/0",
        state_redis_url="redis://127.0.0.1:1/0",
        tenant="acme",
    )


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Engine]:
    """The engine that the tasks use under these settings."""
    engine = engine_of(settings)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def redis_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A cache and a state Redis."""
    cache = start_redis(tmp_path_factory.mktemp("tasks-cache"), *CACHE_ROLE)
    state = start_redis(tmp_path_factory.mktemp("tasks-state"), *STATE_ROLE)
    yield cache, state
    cache.stop()
    state.stop()


@dataclass
class Station:
    """A tenant whose prompt ``help`` is answered from the collection ``articles``, through the real online path."""

    settings: Settings
    engine: Engine
    provider: EchoServer
    version: PromptVersion

    @property
    def gateway(self) -> Gateway:
        return client(self.settings).gateway

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return client(self.settings).run(awaited(), patience=30.0)

    def put(self, identity: str, text: str) -> None:
        self.run(self.gateway.documents.put("acme", "articles", identity, title=identity, text=text))

    def delete(self, identity: str) -> None:
        self.run(self.gateway.documents.delete("acme", "articles", identity))

    def ask(self, question: str, version: PromptVersion | None = None) -> Answer:
        """As a live user."""
        call = Call(
            id=new_id("call", self.gateway.clock),
            tenant="acme",
            received_at=self.gateway.clock.now(),
            prompt="help",
            version=version or self.version,
            variables={"question": question},
        )
        return self.run(self._answered(call))

    async def _answered(self, call: Call) -> Answer:
        """When it is kept: that goes on after its caller has it."""
        answer = await self.gateway.pipeline.answer(call)
        await self.gateway.pipeline.settle()
        return answer

    def ship(self) -> None:
        """What was asked, from the spool into SQL."""
        writer = LedgerWriter(self.engine, self.settings.spool_directory, self.gateway.clock)
        while writer.ship():
            pass

    def kept(self) -> list[Kept]:
        async def all_of_it() -> list[Kept]:
            return [entry async for entry in self.gateway.cache.survey()]

        return self.run(all_of_it())


@pytest.fixture
def station(settings: Settings, ledger: Engine, redis_pair: tuple[RedisServer, RedisServer]) -> Iterator[Station]:
    with echo_provider() as provider:
        cache, state = redis_pair
        live = settings.model_copy(
            update={
                "cache_redis_url": cache.url,
                "state_redis_url": state.url,
                "redis_timeout": 5.0,
                "openai_base_url": provider.url,
                "openai_api_key": SecretStr("test"),
            }
        )
        version = PromptVersion(
            tenant="acme",
            name="help",
            version="1.0.0",
            digest="d",
            template=({"role": "user", "content": "{{context}} {{question}}"},),
            variables=(Variable("question"),),
            chain=(ModelRef("openai", "gpt-4.1-mini"),),
            params={"temperature": 0},
            retrieval=RetrievalPolicy(collection="articles", query="{{question}}", top_k=2),
        )
        add(ledger, *prompt_rows(bundle=msgspec.to_builtins(version)))
        built = Station(live, ledger, provider, version)
        built.run(built.gateway.cache_redis.flushall())
        yield built
        client(live).close()
