"""Two workers over one cache Redis, one state Redis and one SQL database, all of it the real code, at held seams.

A model that repeats its prompt makes every answer say which documents, in which version, it was made from, and which
upstream call made it: so whether it may be served is a question that each answer answers itself.
"""

import itertools
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Generator
from decimal import Decimal
from itertools import pairwise
from typing import Any

from sqlalchemy import Engine, text

from gateway.cache.coalesce import Coalescer
from gateway.cache.contexts import ContextCache
from gateway.cache.cuts import Cuts
from gateway.cache.embeddings import EmbeddingCache
from gateway.cache.epochs import Epochs
from gateway.cache.exact import ExactCache
from gateway.cache.layered import LayeredCache
from gateway.cache.local import LocalEntries
from gateway.cache.retrieving import CachedRetriever
from gateway.cache.trust import TrustedCuts
from gateway.clock import ManualClock
from gateway.compose import lay_path
from gateway.embedding.lexical import LexicalEmbedder
from gateway.errors import PromptyardError
from gateway.pipeline import Pipeline
from gateway.prompts.router import Router
from gateway.retrieval.documents import Documents
from gateway.retrieval.search import Retriever
from gateway.settings import Settings
from gateway.trail import Trail
from gateway.types import (
    STABLE,
    Answer,
    Arm,
    Attempt,
    CachePolicy,
    Call,
    Completion,
    Cost,
    Delta,
    LayerPolicy,
    ModelRef,
    PromptVersion,
    Reply,
    RetrievalPolicy,
    Route,
    RoutingTable,
    SemanticMode,
    SemanticPolicy,
    Usage,
    Variable,
)
from tests.freshness.seams import Gate, HeldLine, HeldRedis, Server

COLLECTION, PROMPT, TAG = "parcels", "which", "prices"
_SAID = re.compile(r"parcel (\w+) number (\d+)")
_CALL = re.compile(r"answer (\d+)")
_NEVER = 1e9
_THERE = text("SELECT id, text FROM documents WHERE tenant = :tenant AND NOT deleted")
_NUMBERS = itertools.count()

Corpus = dict[str, int]
"""Document id to the number that its text says."""


class StaleAnswer(AssertionError):
    """A reader got what an acknowledged change had made wrong before it asked."""


def version(tenant: str) -> PromptVersion:
    return PromptVersion(
        tenant=tenant,
        name=PROMPT,
        version="1.0.0",
        digest="d",
        template=({"role": "user", "content": "{{context}}\n\n{{question}}"},),
        variables=(Variable("question"),),
        chain=(ModelRef("openai", "small"),),
        params={"temperature": 0},
        retrieval=RetrievalPolicy(COLLECTION, "{{question}}", top_k=8),
        cache=CachePolicy(
            ttl=100.0,
            refresh_within=50.0,
            stale_for=200.0,
            tags=(TAG,),
            local=LayerPolicy(on=True, ttl=10.0),
            semantic=SemanticPolicy(mode=SemanticMode.OFF),
        ),
    )


class Ready:
    """Done already."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


class Outside:
    """The ports that have no part in this: all are admitted, nothing costs anything, no tools, a list as ledger."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def answered(self, answer: Answer, trail: Trail) -> None:
        self.answers.append(answer)

    def admit(self, call: Call) -> Awaitable[None]:
        return Ready()

    async def reserve(self, call: Call) -> None:
        return None

    async def settle(self, reservation: Any, usage: Usage, usd: Decimal | None) -> None:
        return None

    async def release(self, reservation: Any) -> None:
        return None

    def shareable(self, names: Any) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        if name in ("failed", "refused"):
            return lambda *_: None
        raise AttributeError(name)


class Model:
    """Repeats its prompt, when it is let go on."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.asked = 0

    async def complete(self, request: Completion) -> Reply:
        said = self._said(request)
        await self._gate.hold(lambda: None)
        return _reply(said)

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        said = self._said(request)
        for piece in (said[:9], said[9:]):
            await self._gate.hold(lambda: None)
            yield Delta(delta={"content": piece})
        await self._gate.hold(lambda: None)
        yield Delta(reply=_reply(said))

    def _said(self, request: Completion) -> str:
        assert request.on_attempt is not None
        request.on_attempt(ModelRef("openai", "small"))
        self.asked += 1
        return f"answer {self.asked:06d} " + str(request.messages[-1]["content"])


def _reply(said: str) -> Reply:
    return Reply(
        message={"role": "assistant", "content": said},
        finish_reason="stop",
        provider="openai",
        model="small",
        usage=Usage(10, 10),
        attempts=(Attempt("openai", "small", 2_000.0),),
    )


class Worker:
    """``exact`` is the cache's class: a weakened one shows that the machine can find something."""

    def __init__(self, world: "World", number: int, exact: type[ExactCache]) -> None:
        state, entries = HeldLine(world.state), HeldLine(world.entries)
        writers: Any = HeldRedis(world.state)
        readers: Any = HeldRedis(world.entries)
        clock, embedder = world.clock, LexicalEmbedder(64)
        self.epochs = Epochs(writers, clock=clock, timeout=_NEVER, line=state)
        self.cuts = TrustedCuts(Cuts(writers, timeout=_NEVER, line=state), clock, sleep=world.sleep)
        kept = exact(
            readers,
            self.epochs,
            clock=clock,
            entropy=random.Random(number),
            timeout=_NEVER,
            line=entries,
            cuts=self.cuts,
        )
        cache = LayeredCache(kept, LocalEntries(clock), clock)
        self.documents = Documents(world.engine, self.epochs, embedder, clock)
        self.outside = Outside()
        outside: Any = self.outside
        retriever = CachedRetriever(
            Retriever(world.engine, embedder, clock=clock),
            embedder=embedder.name,
            embeddings=EmbeddingCache(entries, embedder),
            contexts=ContextCache(entries),
            clock=clock,
        )
        route = Route(tenant=world.tenant, prompt=PROMPT, arms=(Arm(STABLE, version(world.tenant), 10_000),))
        router = Router()
        router.swap(RoutingTable(1, (route,)))
        self.pipeline: Pipeline = lay_path(
            world.settings,
            router=router,
            limits=outside,
            tools=outside,
            cache=cache,
            epochs=self.epochs,
            retriever=retriever,
            providers=world.model,
            coalescer=Coalescer(),
            recorder=outside,
            clock=clock,
            charged=lambda *_: Cost(Decimal(0)),
        )


class World:
    """``history``: what SQL said, one corpus after each transaction that changed it; ``acknowledged``: a position."""

    def __init__(
        self, engine: Engine, settings: Settings, gate: Gate, state: Server, entries: Server, exact: type[ExactCache]
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.gate = gate
        self.state = state
        self.entries = entries
        self.tenant = f"t{next(_NUMBERS)}"
        self.clock = ManualClock()
        self.model = Model(gate)
        self.history: list[Corpus] = [{}]
        self.acknowledged = 0
        self.removed = 0
        """Upstream calls up to this number were begun before a cut that was acknowledged."""
        self.served = 0
        self.layers: set[str] = set()
        self._written = 0
        self.workers = [Worker(self, number, exact) for number in range(2)]

    def look_at_sql(self) -> None:
        with self.engine.connect() as connection:
            rows = connection.execute(_THERE, {"tenant": self.tenant}).all()
        corpus = {id: int(content.rsplit(" ", 1)[1]) for id, content in rows}
        if corpus != self.history[-1]:
            self.history.append(corpus)

    async def ask(self, worker: int, *, stream: bool, question: int) -> None:
        """Raises StaleAnswer."""
        acknowledged, removed = self.acknowledged, self.removed
        call = Call(
            id=f"call_{self.served}",
            tenant=self.tenant,
            received_at=self.clock.now(),
            prompt=PROMPT,
            variables={"question": f"Which parcel has which number, and what is it? {question}"},
        )
        pipeline = self.workers[worker].pipeline
        try:
            if stream:
                last: Any = None
                said = ""
                async for last in pipeline.stream(call):
                    said += "" if isinstance(last, Answer) else str(last.delta.get("content") or "")
                answer: Answer = last
                assert said == answer.reply.text, "what was streamed is what is recorded"
            else:
                answer = await pipeline.answer(call)
        except PromptyardError:
            return
        self.served += 1
        self.layers.add(f"{answer.layer.value} ({answer.cache_reason})")
        self._judge(answer, acknowledged, removed)

    def _judge(self, answer: Answer, acknowledged: int, removed: int) -> None:
        said = answer.reply.text
        corpus = {id: int(number) for id, number in _SAID.findall(said)}
        if corpus not in self.history[acknowledged:]:
            raise StaleAnswer(
                f"{answer.layer.value} ({answer.cache_reason}) serves {corpus}, "
                f"when one of {self.history[acknowledged:]} was true"
            )
        made = _CALL.search(said)
        if made is not None and int(made[1]) <= removed:
            raise StaleAnswer(f"{answer.layer.value} ({answer.cache_reason}) serves what was removed")

    async def sleep(self, seconds: float) -> None:
        until = self.clock.now() + seconds
        await self.gate.hold(lambda: self.clock.advance(max(0.0, until - self.clock.now())))

    async def put(self, worker: int, id: str) -> None:
        self._written += 1
        content = f"The parcel {id} number {self._written}"
        await self._changed(self.workers[worker].documents.put(self.tenant, COLLECTION, id, title=id, text=content))

    async def delete(self, worker: int, id: str) -> None:
        await self._changed(self.workers[worker].documents.delete(self.tenant, COLLECTION, id))

    async def _changed(self, change: Awaitable[Any]) -> None:
        try:
            state = await change
        except PromptyardError:
            return
        self.acknowledged = max(self.acknowledged, self._position(state.id, state.version))

    def _position(self, id: str, version: int) -> int:
        """Where the history has the document's change of that number: versions count changes."""
        seen = 0
        for position, (before, now) in enumerate(pairwise(self.history), 1):
            seen += before.get(id) != now.get(id)
            if seen == version:
                return position
        raise AssertionError(f"version {version} of {id} was acknowledged and is not in SQL")

    async def cut(self, worker: int, what: str) -> None:
        begun = self.model.asked
        names = {"prompt": {"prompt": PROMPT}, "version": {"prompt": PROMPT, "version": "1.0.0"}, "tag": {"tag": TAG}}
        try:
            await self.workers[worker].cuts.cut(self.tenant, **names.get(what, {}))
        except PromptyardError:
            return
        self.removed = max(self.removed, begun)
