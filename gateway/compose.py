"""The one place where the online path is put together: for the app, and for the flows' own LLM calls."""

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import Engine, text

from gateway import ports
from gateway.auth.authenticator import Authenticator
from gateway.cache.coalesce import Coalescer
from gateway.cache.contexts import ContextCache
from gateway.cache.cuts import Cuts
from gateway.cache.embeddings import EmbeddingCache
from gateway.cache.epochs import Epochs
from gateway.cache.exact import ExactCache
from gateway.cache.layered import LayeredCache
from gateway.cache.leases import RedisLeases
from gateway.cache.local import LocalEntries
from gateway.cache.memory import Role, read_memory, warnings_of
from gateway.cache.retrieving import CachedRetriever
from gateway.cache.semantic.blocks import build_graph, graphs_available
from gateway.cache.semantic.index import SimilarIndex
from gateway.cache.semantic.layer import SemanticAnswers
from gateway.cache.semantic.shelf import Shelf
from gateway.cache.semantic.verdicts import Verdicts
from gateway.cache.trust import TrustedCuts
from gateway.clock import Clock, SystemClock, new_id
from gateway.dialogue import Dialogue
from gateway.embed_pipeline import EmbedPipeline
from gateway.embedding.base import Embedder
from gateway.embedding.build import build_catalogue, build_embedder
from gateway.embedding.catalogue import Catalogue
from gateway.embedding.remembered import Remembering
from gateway.idempotency.idempotency import Idempotency
from gateway.ledger.recorder import SpoolRecorder
from gateway.ledger.spent import spent_on
from gateway.ledger.spool import Spool
from gateway.limits.build import LimitRoom, build_limits
from gateway.pipeline import Pipeline
from gateway.pricing import price
from gateway.producer import Producer
from gateway.prompts.rewording import compared_variable, reworded
from gateway.prompts.router import Router
from gateway.prompts.routing_store import RoutingStore
from gateway.prompts.watcher import Watcher
from gateway.providers.breaker import Breaker
from gateway.providers.build import build_chain
from gateway.providers.fallback import FallbackChain
from gateway.providers.redis_board import RedisBoard
from gateway.providers.retry import RetryBudget
from gateway.retrieval.documents import Documents
from gateway.retrieval.search import Retriever, render_passages
from gateway.settings import Settings
from gateway.storage.announcing import announce_once
from gateway.storage.engine import make_engine, reading
from gateway.storage.line import Line, line_for
from gateway.storage.redis_store import REDIS_TROUBLE, connect
from gateway.telemetry import Metrics
from gateway.tools.metrics import ToolMetrics
from gateway.tools.registry import load_tools
from gateway.tools.toolbox import Toolbox
from gateway.tracing import Tracing, build_tracing
from gateway.types import RoutingTable, SemanticPair


@dataclass
class Gateway:
    """Everything that answers calls in one process and one event loop. ``start`` it before use, ``stop`` it after."""

    settings: Settings
    clock: Clock
    instance: str
    engine: Engine
    cache_redis: "Redis"
    state_redis: "Redis"
    pipeline: Pipeline
    providers: FallbackChain
    breakers: RedisBoard
    embedder: Embedder
    semantic: SemanticAnswers
    leases: RedisLeases
    limits: LimitRoom
    tools: Toolbox
    idempotency: Idempotency
    embed_pipeline: EmbedPipeline
    embedding_models: Catalogue
    cache: LayeredCache
    retriever: CachedRetriever
    epochs: Epochs
    cuts: TrustedCuts
    documents: Documents
    routing: RoutingStore
    authenticator: Authenticator
    spool: Spool
    recorder: SpoolRecorder
    metrics: Metrics
    tracing: Tracing
    watcher: Watcher
    provider_names: frozenset[str]
    _in_flight: int = field(default=0, init=False)

    async def start(self) -> None:
        self.metrics.in_flight.set_function(lambda: self._in_flight)
        self.metrics.local_bytes.set_function(lambda: self.cache.local.bytes)
        self.metrics.local_entries.set_function(lambda: len(self.cache.local))
        await self.breakers.start()
        await self.leases.start()
        await self.watcher.start()

    async def stop(self) -> None:
        """Close every connection; safe to call once, after the last answer."""
        await self.watcher.stop()
        await self.leases.stop()
        await self.breakers.stop()
        await self.documents.settle()  # a change whose caller has left must not stay committed but unpublished
        await self.close()

    async def close(self) -> None:
        """As ``stop``, for a gateway that was never started."""
        await self.semantic.stop()
        await self.pipeline.refresher.stop()
        await self.pipeline.mirroring.stop()
        await self.pipeline.settle()
        await self.documents.settle()
        await self.idempotency.settle()
        await self.authenticator.aclose()
        await self.limits.aclose()
        await self.providers.aclose()
        await self.embedder.aclose()
        await self.embedding_models.aclose()
        await self.cache_redis.aclose()
        await self.state_redis.aclose()
        self.tracing.close()  # not in a thread: a command closes while its interpreter ends, which starts none
        self.spool.close()
        self.engine.dispose()

    def admit(self) -> bool:
        """Take a place among the calls in flight, if there is one left."""
        if self._in_flight >= self.settings.max_in_flight:
            return False
        self._in_flight += 1
        return True

    def release(self) -> None:
        self._in_flight -= 1

    async def health(self) -> dict[str, Any]:
        """Whether each dependency answers within its time-out, and what is odd about how they are set up.

        Never raises. Warnings do not degrade: such a gateway answers as it should, for now.
        """
        names = ("cache_redis", "state_redis", "sql")
        answers = await asyncio.gather(
            self._answers(self.cache_redis.ping()),
            self._answers(self.state_redis.ping()),
            self._answers(asyncio.to_thread(self._ask_sql)),
        )
        checks = dict(zip(names, answers, strict=True))
        for name, up in checks.items():
            self.metrics.degraded.labels(name).set(up)
        of_cache, of_state = await asyncio.gather(
            self._warnings(self.cache_redis, Role.CACHE), self._warnings(self.state_redis, Role.STATE)
        )
        table = self.pipeline.router.table
        return {
            "status": "ok" if all(answers) else "degraded",
            "checks": {name: "up" if up else "down" for name, up in checks.items()},
            "routing_revision": table.revision,
            "prompts": len(table.routes),
            "instance": self.instance,
            "embedder": self.embedder.name,
            "warnings": [*of_cache, *of_state],
        }

    async def _warnings(self, redis: "Redis", role: Role) -> tuple[str, ...]:
        try:
            memory = await read_memory(redis, self.settings.redis_timeout)
        except REDIS_TROUBLE:  # that it is down is said elsewhere
            return ()
        except ValueError:  # INFO may be of a kind of its own
            return ()
        return warnings_of(memory, role)

    async def _answers(self, question: Awaitable[Any]) -> bool:
        try:
            await asyncio.wait_for(question, timeout=2 * self.settings.redis_timeout + 1)
        except Exception:  # whatever is wrong with it: it does not answer
            return False
        return True

    def _ask_sql(self) -> None:
        with reading(self.engine) as session:
            session.execute(text("select 1"))


def lay_path(
    settings: Settings,
    *,
    router: Router,
    limits: ports.Limits,
    tools: ports.Toolbox,
    cache: ports.AnswerCache,
    epochs: ports.Epochs,
    retriever: ports.Retriever,
    providers: ports.Provider,
    coalescer: ports.Coalescer,
    recorder: ports.Recorder,
    clock: Clock,
    charged: ports.Price = price,
    semantic: ports.SemanticLayer | None = None,
    count_mirrored: Callable[[str], None] = lambda outcome: None,
) -> Pipeline:
    """The request path over these parts. ``charged`` prices what a provider is asked for now."""
    dialogue = Dialogue(
        providers=providers, limits=limits, tools=tools, price=charged, chain=settings.chain, clock=clock
    )
    producer = Producer(
        cache=cache,
        epochs=epochs,
        retriever=retriever,
        dialogue=dialogue,
        show_passages=render_passages,
        clock=clock,
        semantic=semantic,
    )
    return Pipeline(
        router=router,
        limits=limits,
        cache=cache,
        epochs=epochs,
        coalescer=coalescer,
        producer=producer,
        recorder=recorder,
        price=price,
        clock=clock,
        count_mirrored=count_mirrored,
    )


def lay_retrieval(
    settings: Settings, search: Retriever, embedder: Embedder, line: Line, clock: Clock
) -> CachedRetriever:
    """The search, and what is kept before it where that is faster: ``python -m tests.bench layers-below`` tells."""
    slow = settings.embedder != "lexical"
    return CachedRetriever(
        search,
        embedder=embedder.name,
        embeddings=EmbeddingCache(line, embedder) if slow else None,
        contexts=ContextCache(line),
        clock=clock,
    )


def lay_semantic(
    embedder: Embedder,
    *,
    cache: LayeredCache,
    epochs: Epochs,
    cache_line: Line,
    state_line: Line,
    embeddings: EmbeddingCache | None,
    record: Callable[[SemanticPair], None] | None,
    clock: Clock,
    entropy: random.Random,
) -> SemanticAnswers:
    """The layer, its index in the cache Redis and its verdicts in the state Redis."""
    new_index = partial(SimilarIndex, build=build_graph if graphs_available() else None)
    return SemanticAnswers(
        cache=cache,
        epochs=epochs,
        embedder=embedder,
        embeddings=embeddings,
        shelf=Shelf(cache_line, clock=clock, new_index=new_index),
        verdicts=Verdicts(state_line, clock=clock),
        compared=compared_variable,
        reworded=reworded,
        record=record,
        clock=clock,
        entropy=entropy,
    )


def compose(settings: Settings, *, clock: Clock | None = None, role: str = "gateway") -> Gateway:
    """Put the online path together. Opens no connection yet; the spool's directory is made."""
    clock = clock or SystemClock()
    entropy = random.Random(os.urandom(32))  # noqa: S311 (jitter and samples, no secrets; a system call a draw is dear)
    instance = f"{role}-{socket.gethostname()}-{os.getpid()}-{new_id('i', clock)[-6:]}"
    engine = make_engine(settings.sql_url, settings.sql)
    cache_redis = connect(
        settings.cache_redis_url, timeout=settings.redis_timeout, connections=settings.redis_connections
    )
    state_redis = connect(
        settings.state_redis_url, timeout=settings.redis_timeout, connections=settings.redis_connections, guarded=True
    )
    metrics = Metrics()
    tracing = build_tracing(settings, clock, random.Random(), instance)  # noqa: S311 (which calls are looked at is no secret)
    embedder = Remembering(build_embedder(settings))
    state_line = line_for(state_redis, timeout=settings.redis_timeout)
    epochs = Epochs(state_redis, clock=clock, timeout=settings.redis_timeout, line=state_line)
    cuts = TrustedCuts(Cuts(state_redis, timeout=settings.redis_timeout, line=state_line), clock)
    limits = build_limits(
        settings,
        state_line,
        price=price,
        spent_on=partial(spent_on, engine),
        announce=partial(announce_once, engine, clock),
        registry=metrics.registry,
        clock=clock,
    )
    cache_line = line_for(cache_redis, timeout=settings.redis_timeout)
    search = Retriever(engine, embedder)
    retriever = lay_retrieval(settings, search, embedder, cache_line, clock)
    tools = Toolbox(load_tools(settings.tools), library=search, clock=clock, metrics=ToolMetrics(metrics.registry))
    exact = ExactCache(
        cache_redis,
        epochs,
        clock=clock,
        entropy=entropy,
        timeout=settings.redis_timeout,
        line=cache_line,
        cuts=cuts,
    )
    cache = LayeredCache(exact, LocalEntries(clock, max_bytes=settings.local_cache_bytes), clock)
    spool = Spool(settings.spool_directory, instance, max_bytes=settings.spool_max_bytes, clock=clock)
    recorder = SpoolRecorder(spool, metrics, clock, keep_content=settings.ledger_content == "on", tracing=tracing)
    breakers = RedisBoard(state_redis, timeout=settings.redis_timeout)
    gate = limits.models if settings.model_limits else None
    providers = build_chain(settings, clock, entropy, board=breakers, gate=gate)
    router = Router()
    semantic = lay_semantic(
        embedder,
        cache=cache,
        epochs=epochs,
        cache_line=cache_line,
        state_line=state_line,
        # A local model is nearly as fast as a look, and what was asked before is the exact layer's to answer.
        embeddings=retriever.embeddings if settings.embedder == "openai" else None,
        record=recorder.pair if settings.ledger_content == "on" else None,
        clock=clock,
        entropy=entropy,
    )
    leases = RedisLeases(cache_redis, cache_line, instance=instance)
    pipeline = lay_path(
        settings,
        router=router,
        limits=limits.limits,
        tools=tools,
        cache=cache,
        epochs=epochs,
        retriever=retriever,
        providers=providers,
        coalescer=Coalescer(leases),
        recorder=recorder,
        clock=clock,
        semantic=semantic,
        count_mirrored=lambda outcome: metrics.mirrored.labels(outcome).inc(),
    )
    semantic.probes.answer = pipeline.answer
    bounds = settings.chain
    embedding_models = build_catalogue(
        settings,
        circuit=lambda: Breaker(bounds.breaker_failures, bounds.breaker_cooldown, clock),
        budget=RetryBudget(bounds.retry_budget_ratio),
        clock=clock,
        entropy=entropy,
    )
    routing = RoutingStore(state_redis)

    def note_revision(table: RoutingTable) -> None:
        metrics.routing_revision.set(table.revision)

    watcher = Watcher(
        router,
        routing,
        state_redis,
        engine,
        instance=instance,
        snapshot=settings.routing_snapshot,
        heartbeat_ttl=settings.heartbeat_ttl,
        on_swap=note_revision,
        monotonic=clock.monotonic,
    )
    return Gateway(
        settings=settings,
        clock=clock,
        instance=instance,
        engine=engine,
        cache_redis=cache_redis,
        state_redis=state_redis,
        pipeline=pipeline,
        providers=providers,
        breakers=breakers,
        embedder=embedder,
        semantic=semantic,
        leases=leases,
        limits=limits,
        tools=tools,
        idempotency=Idempotency(engine, clock, instance),
        embed_pipeline=EmbedPipeline(
            models=embedding_models, limits=limits.limits, recorder=recorder, price=price, clock=clock
        ),
        embedding_models=embedding_models,
        cache=cache,
        retriever=retriever,
        epochs=epochs,
        cuts=cuts,
        documents=Documents(engine, epochs, embedder, clock),
        routing=routing,
        authenticator=Authenticator(engine, clock, ttl=settings.key_cache_ttl),
        spool=spool,
        recorder=recorder,
        metrics=metrics,
        tracing=tracing,
        watcher=watcher,
        provider_names=frozenset(settings.provider_settings()),
    )
