"""What a drill works with: two Redis, a provider that counts, and workers of the gateway in one event loop.

A worker is what ``compose()`` puts together. A worker without a protection is the same parts laid anew
(``compose.lay_path``), one of them left out or replaced.
"""

import contextlib
import itertools
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from deployments.drills.servers import CACHE, STATE, DrillRedis, redis_server
from deployments.drills.upstream import Upstream, upstream
from gateway import ports
from gateway.cache.coalesce import Coalescer
from gateway.clock import SystemClock, new_id
from gateway.compose import Gateway, compose, lay_path
from gateway.pipeline import Pipeline
from gateway.settings import ChainSettings, Settings
from gateway.storage.migrate import migrate
from gateway.types import Arm, Call, ModelRef, PromptVersion, RetrievalPolicy, Route, RoutingTable, Variable

MODEL = ModelRef("openai", "gpt-4.1-mini")
TENANT, PROMPT = "drill", "help"


@dataclass
class Yard:
    """Everything of one drill; it is gone afterwards."""

    settings: Settings
    cache_redis: DrillRedis
    state_redis: DrillRedis
    upstream: Upstream
    clock: SystemClock = field(default_factory=SystemClock)
    _revisions: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @contextlib.asynccontextmanager
    async def workers(self, count: int) -> AsyncIterator[list[Gateway]]:
        """As many processes of the gateway would be, each with its own parts; they share the two Redis and SQL."""
        async with contextlib.AsyncExitStack() as closing:
            found = []
            for _ in range(count):
                worker = compose(self.settings, clock=self.clock, role="drill")
                closing.push_async_callback(worker.stop)
                await worker.start()
                worker.pipeline.router.swap(RoutingTable(next(self._revisions), (_route(),)))
                found.append(worker)
            yield found

    def call(self, question: str, *, tenant: str = TENANT, params: Mapping[str, Any] | None = None) -> Call:
        """A raw call: a question to a model."""
        now = self.clock.now()
        return Call(
            id=new_id("call", self.clock),
            tenant=tenant,
            received_at=now,
            model=str(MODEL),
            messages=({"role": "user", "content": question},),
            params={"temperature": 0, "max_tokens": 100} | dict(params or {}),
        )

    def grounded(self, question: str) -> Call:
        """A call of the prompt, which is answered from documents."""
        call = self.call(question)
        return Call(
            id=call.id, tenant=TENANT, received_at=call.received_at, prompt=PROMPT, variables={"question": question}
        )


@contextlib.asynccontextmanager
async def yard(*, cache_options: tuple[str, ...] = CACHE, seconds: float = 0.2, **changes: Any) -> AsyncIterator[Yard]:
    """``seconds``: how long the provider takes; ``changes`` are fields of ``Settings``. Raises StackError."""
    async with contextlib.AsyncExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="promptyard-drill-")))
        cache = await closing.enter_async_context(redis_server(folder / "cache", *cache_options))
        state = await closing.enter_async_context(redis_server(folder / "state", *STATE))
        provider = await closing.enter_async_context(upstream(seconds))
        settings = _settings(folder, cache, state, provider, changes)
        migrate(settings.sql_url)
        yield Yard(settings, cache, state, provider)


def relaid(
    worker: Gateway,
    *,
    cache: ports.AnswerCache | None = None,
    epochs: ports.Epochs | None = None,
    coalescer: ports.Coalescer | None = None,
    retriever: ports.Retriever | None = None,
    providers: ports.Provider | None = None,
) -> Pipeline:
    """The worker's request path with other parts in these places; it shares flights with nobody else."""
    own = worker.pipeline
    return lay_path(
        worker.settings,
        router=own.router,
        limits=worker.limits.limits,
        tools=worker.tools,
        cache=cache or worker.cache,
        epochs=epochs or worker.epochs,
        retriever=retriever or worker.retriever,
        providers=providers or worker.providers,
        coalescer=Coalescer() if coalescer is None else coalescer,  # an empty one is false
        recorder=worker.recorder,
        clock=worker.clock,
    )


def _route() -> Route:
    version = PromptVersion(
        tenant=TENANT,
        name=PROMPT,
        version="1.0.0",
        digest="drill",
        template=(
            {"role": "system", "content": "{{context}}"},
            {"role": "user", "content": "{{question}}"},
        ),
        variables=(Variable("question", max_chars=200),),
        chain=(MODEL,),
        params={"temperature": 0, "max_tokens": 100},
        retrieval=RetrievalPolicy(collection=PROMPT, query="{{question}}", top_k=1),
    )
    return Route(tenant=TENANT, prompt=PROMPT, arms=(Arm("stable", version, 10_000),))


def _settings(
    folder: Path, cache: DrillRedis, state: DrillRedis, provider: Upstream, changes: Mapping[str, Any]
) -> Settings:
    """Everything that the shell might set differently is named."""
    fields: dict[str, Any] = {
        "home": folder,
        "database_url": f"sqlite:///{folder / 'ledger.db'}",
        "cache_redis_url": cache.url,
        "state_redis_url": state.url,
        "redis_timeout": 1.0,
        "openai_base_url": f"{provider.url}/v1",
        "openai_api_key": SecretStr("drill"),
        "providers": {},
        "model_limits": {},
        "tools": [],
        "embedder": "lexical",
        "ledger_content": "off",
        "otlp_endpoint": "",
        "prefect_api_url": "",
        "chain": ChainSettings.model_validate({}),
    }
    return Settings(**(fields | dict(changes)))
