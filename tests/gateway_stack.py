"""The online path as it runs: a gateway over HTTP, two Redis, a SQLite file, and the simulator behind it.

``gateway_stack`` gives a ``Stack``. Tests that share one keep apart by tenants and prompt names of their own. What runs
in threads of this process can be reached into (``stack.gateway``); ``gateway_process`` has one that may be killed.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from openai import OpenAI
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from gateway.app import create_app
from gateway.auth.keys import SCOPES, create_key
from gateway.clock import SystemClock
from gateway.compose import Gateway
from gateway.http_server import BoundedHttp
from gateway.ledger.writer import LedgerWriter
from gateway.prompts.projection import write_routing
from gateway.prompts.routing_store import RoutingStore
from gateway.settings import ChainSettings, Settings
from gateway.storage.engine import make_engine, reading, writing
from gateway.storage.models import Base, CallRow, PromptRow, PromptVersionRow, ReleaseRow
from gateway.storage.redis_store import connect
from gateway.types import ModelRef, PromptVersion, RetrievalPolicy, RoutingTable, Variable
from infra.simulator.app import build_app
from infra.simulator.faults import Latency
from infra.simulator.server import build_server
from tests.databases import new_database
from tests.server_thread import ServerThread, listen
from tests.servers import CACHE_ROLE, STATE_ROLE, RedisServer, start_redis

GPT, CLAUDE = ModelRef("openai", "gpt-4.1-mini"), ModelRef("anthropic", "claude-haiku-4-5")
PROVIDER_KEY = "sk-the-providers-own-key"
_NUMBERS = itertools.count(1)


def unique(stem: str) -> str:
    """A name that no other test of this process uses."""
    return f"{stem}-{next(_NUMBERS)}"


def until(what: str, true: Callable[[], Any], *, within: float = 10.0) -> Any:
    """What ``true`` returns as soon as it is truthy; fails after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.01)
    return found


def prompt_version(tenant: str, name: str, version: str = "1.0.0", **changes: Any) -> PromptVersion:
    """A version that answers ``question`` from the documents of the collection ``name``."""
    fields: dict[str, Any] = {
        "tenant": tenant,
        "name": name,
        "version": version,
        "digest": f"digest of {name}@{version}",
        "template": (
            {"role": "system", "content": "Answer from the context. Say so if it is not there.\n\n{{context}}"},
            {"role": "user", "content": "{{question}}"},
        ),
        "variables": (Variable("question", max_chars=200),),
        "chain": (GPT, CLAUDE),
        "params": {"temperature": 0, "max_tokens": 200},
        "retrieval": RetrievalPolicy(collection=name, query="{{question}}", top_k=1),
    }
    return PromptVersion(**(fields | changes))


@dataclass
class Simulator:
    """Both providers. ``put`` sets the faults in force; ``calls`` counts what reached a provider and was answered."""

    server: ServerThread

    @property
    def url(self) -> str:
        return self.server.url

    def put(self, *rules: Mapping[str, Any]) -> None:
        httpx.put(f"{self.url}/admin/faults", json={"rules": rules}, timeout=10).raise_for_status()

    @contextlib.contextmanager
    def faults(self, *rules: Mapping[str, Any]) -> Iterator[None]:
        self.put(*rules)
        try:
            yield
        finally:
            self.put()

    def calls(self) -> int:
        return int(httpx.get(f"{self.url}/admin/stats", timeout=10).json()["total"])


@dataclass
class Stack:
    """See the module. ``url`` is the gateway's."""

    settings: Settings
    engine: Engine
    cache_redis: RedisServer
    state_redis: RedisServer
    simulator: Simulator
    clock: SystemClock = field(default_factory=SystemClock)
    gateway: Gateway = field(init=False)
    server: ServerThread = field(init=False)

    @property
    def url(self) -> str:
        return self.server.url

    def start(self) -> None:
        app = create_app(self.settings)
        config = uvicorn.Config(
            app, http=BoundedHttp, log_level="warning", access_log=False, timeout_graceful_shutdown=5
        )
        self.server = ServerThread(uvicorn.Server(config), listen())
        self.server.start()
        self.gateway = app.state.gateway

    def stop(self) -> None:
        self.server.stop()

    def key(self, tenant: str, scopes: Sequence[str] = tuple(sorted(SCOPES - {"admin"}))) -> str:
        return create_key(self.engine, self.clock, tenant, "test", scopes)[0]

    def http(self, key: str = "", **headers: str) -> httpx.Client:
        """A client of this gateway; the test closes it, or leaves it to the end of the process."""
        if key:
            headers["authorization"] = f"Bearer {key}"
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def openai(self, key: str) -> OpenAI:
        """The official SDK: nothing but its base_url is changed."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30)

    def add(self, *versions: PromptVersion) -> RoutingTable:
        """Put versions into production and wait until the gateway serves by them."""
        with writing(self.engine) as session:
            for version in versions:
                put_into_production(session, version)
            table = write_routing(session, self.clock)
        return self.publish(table)

    def release(self, canary: PromptVersion, *, weight: int, evidence_share: int = 0) -> RoutingTable:
        """Open a canary of a prompt that is in production, or change its weight (basis points)."""
        with writing(self.engine) as session:
            session.merge(_version_row(canary))
            session.merge(_release_row(canary, weight, evidence_share))
            table = write_routing(session, self.clock)
        return self.publish(table)

    def publish(self, table: RoutingTable) -> RoutingTable:
        async def tell(store: RoutingStore) -> None:
            await store.publish(table)
            behind = await store.wait_until_live(table.revision, patience=10)
            assert not behind, f"behind revision {table.revision}: {behind}"

        self.on_state(tell)
        return table

    def on_state(self, work: Callable[[RoutingStore], Any]) -> Any:
        """Run ``work`` with a routing store of its own on the state Redis."""

        async def run() -> Any:
            redis = connect(self.settings.state_redis_url, timeout=5, connections=2, guarded=True)
            try:
                return await work(RoutingStore(redis))
            finally:
                await redis.aclose()

        return asyncio.run(run())

    def ship(self) -> int:
        """One round of the ledger-writer; returns how many records it finished."""
        with LedgerWriter(self.engine, self.settings.spool_directory, self.clock) as writer:
            return sum(iter(writer.ship, 0))

    def calls(self, tenant: str) -> list[CallRow]:
        """The ledger's calls of a tenant, oldest first, after shipping what is in the spools."""
        self.ship()
        with reading(self.engine) as session:
            return list(session.scalars(select(CallRow).where(CallRow.tenant == tenant).order_by(CallRow.started_at)))

    def contents(self) -> dict[str, list[Any]]:
        """Every row of every table, to tell whether anything changed."""
        self.ship()
        with self.engine.connect() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(select(table))))
                for table in Base.metadata.sorted_tables
            }


def put_into_production(session: Session, version: PromptVersion) -> None:
    """Make a version the one that serves, once the routing is projected and published."""
    session.merge(_version_row(version))
    row = session.get(PromptRow, (version.tenant, version.name))
    if row is None:
        row = PromptRow(tenant=version.tenant, name=version.name, updated_at=0.0)
        session.add(row)
    row.production = version.version


def _version_row(version: PromptVersion) -> PromptVersionRow:
    return PromptVersionRow(
        tenant=version.tenant,
        name=version.name,
        version=version.version,
        digest=version.digest,
        bundle=msgspec.to_builtins(version),
        spec={},
        created_at=0.0,
    )


def _release_row(canary: PromptVersion, weight: int, evidence_share: int) -> ReleaseRow:
    return ReleaseRow(
        id=f"rel_{canary.tenant}_{canary.version}",
        tenant=canary.tenant,
        prompt=canary.name,
        version=canary.version,
        stage="canary",
        weight=weight,
        salt="a fixed salt",
        policy={"evidence_share_bp": evidence_share},
        opened_at=0.0,
    )


@contextlib.contextmanager
def simulator() -> Iterator[Simulator]:
    server = ServerThread(build_server(build_app(0, latency=Latency(1, 2)), "127.0.0.1", 0), listen())
    server.start()
    try:
        yield Simulator(server)
    finally:
        server.stop()


def settings_for(directory: Path, cache: str, state: str, providers: str, **changes: Any) -> Settings:
    """Patient with Redis, since test machines are slow; breakers that one test opens would fail the next one."""
    fields: dict[str, Any] = {
        "home": directory,
        "database_url": new_database(directory),
        "cache_redis_url": cache,
        "state_redis_url": state,
        "redis_timeout": 2.0,
        "sql_timeout": 1.0,
        "openai_base_url": f"{providers}/v1",
        "anthropic_base_url": providers,
        "OPENAI_API_KEY": PROVIDER_KEY,
        "ANTHROPIC_API_KEY": PROVIDER_KEY,
        "chain": ChainSettings.model_validate(
            {"backoff_base": 0.001, "backoff_cap": 0.001, "breaker_failures": 1000, "retry_budget_ratio": 1}
        ),
        "key_cache_ttl": 0.2,
    }
    return Settings.model_validate(fields | changes)


@contextlib.contextmanager
def gateway_stack(directory: Path, **changes: Any) -> Iterator[Stack]:
    """A running stack, empty of prompts, documents and keys; ``changes`` are fields of ``Settings``."""
    with contextlib.ExitStack() as closing:
        cache = start_redis(directory / "cache", *CACHE_ROLE)
        closing.callback(cache.stop)
        state = start_redis(directory / "state", *STATE_ROLE)
        closing.callback(state.stop)
        providers = closing.enter_context(simulator())
        settings = settings_for(directory, cache.url, state.url, providers.url, **changes)
        engine = make_engine(settings.sql_url, settings.sql)
        closing.callback(engine.dispose)
        stack = Stack(settings, engine, cache, state, providers)
        stack.start()
        closing.callback(stack.stop)
        yield stack
