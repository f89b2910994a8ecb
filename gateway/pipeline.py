"""The request path, top to bottom. Every stage is a port; ``compose.py`` says what stands behind it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from msgspec import structs

from gateway.clock import Clock
from gateway.errors import ClientGone, PromptyardError
from gateway.prompts.router import Router
from gateway.prompts.template import bind, render, render_text
from gateway.types import (
    Answer,
    CacheMode,
    Call,
    Candidate,
    Completion,
    Cost,
    Delta,
    Layer,
    ModelRef,
    Passage,
    PromptVersion,
    Reply,
    Usage,
)

REVALIDATED = "revalidated"
MAX_REMAKES = 3


class Found(Protocol):
    """What a look into the answer cache says."""

    @property
    def reply(self) -> Reply | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def epoch(self) -> str: ...
    @property
    def candidate(self) -> Candidate | None: ...


class AnswerCache(Protocol):
    """Never raises: trouble is a miss. ``epoch`` is awaited while the entry is on its way."""

    async def find(self, call: Call, epoch: Awaitable[str] | None = None) -> Found: ...
    async def keep(self, call: Call, reply: Reply, expires_at: float | None = None) -> str: ...
    def key(self, call: Call) -> str: ...


class Epochs(Protocol):
    """The version of a whole collection; empty while unknown. Never raises."""

    async def current(self, tenant: str, collection: str) -> str: ...


class Coalescer(Protocol):
    """Identical calls in flight make one; says whether this one led."""

    async def join(self, key: str, produce: Callable[[], Awaitable[Reply]]) -> tuple[Reply, bool]: ...


class Retrieved(Protocol):
    """Passages, best first; not ``fresh`` when they may be older than the epoch."""

    @property
    def passages(self) -> tuple[Passage, ...]: ...
    @property
    def fresh(self) -> bool: ...


class Retriever(Protocol):
    """Raises StorageUnavailable when neither SQL nor an index can answer."""

    async def find(self, tenant: str, collection: str, epoch: str, query: str, top_k: int) -> Retrieved: ...


class Provider(Protocol):
    """Raises ProviderError."""

    async def complete(self, request: Completion) -> Reply: ...
    def stream(self, request: Completion) -> AsyncGenerator[Delta, None]: ...


class Recorder(Protocol):
    """Hands a call to the ledger durably before its answer leaves. Never raises."""

    def answered(self, answer: Answer) -> None: ...
    def failed(self, call: Call, error: PromptyardError, latency_ms: float) -> None: ...
    def stage(self, name: str, call: Call, seconds: float) -> None: ...


class Pipeline:
    """Answers calls. Safe to share between all requests of one event loop."""

    def __init__(
        self,
        *,
        router: Router,
        cache: AnswerCache,
        epochs: Epochs,
        coalescer: Coalescer,
        retriever: Retriever,
        providers: Provider,
        recorder: Recorder,
        price: Callable[[str, str, Usage, float], Cost],
        show_passages: Callable[[Sequence[Passage]], str],
        clock: Clock,
    ) -> None:
        self.router = router
        self._cache = cache
        self._epochs = epochs
        self._coalescer = coalescer
        self._retriever = retriever
        self._providers = providers
        self._recorder = recorder
        self._price = price
        self._show_passages = show_passages
        self._clock = clock

    async def answer(self, call: Call) -> Answer:
        """A whole answer. Raises PromptyardError; what was routed is recorded either way."""
        begun = self._clock.monotonic()
        call = self._prepare(call)
        try:
            call, found = await self._look_up(call)
            self._recorder.stage("cache", call, self._clock.monotonic() - begun)
            if found.reply is not None:
                return self._finish(call, found.reply, Layer.EXACT, found.reason, begun)
            call, still_true = await self._revalidate(call, found)
            if still_true is not None:
                return self._finish(call, still_true, Layer.EXACT, REVALIDATED, begun)
            call, reply, layer = await self._produce_once(call)
            return self._finish(call, reply, layer, found.reason, begun)
        except Exception as error:
            self._recorder.failed(call, _known(error), self._since(begun))
            raise

    async def stream(self, call: Call) -> AsyncGenerator[Delta | Answer, None]:
        """The answer in pieces, an Answer last, which is recorded before it is yielded. Raises PromptyardError."""
        begun = self._clock.monotonic()
        call = self._prepare(call)
        recorded = False
        try:
            call, found = await self._look_up(call)
            call, kept = (call, found.reply) if found.reply else await self._revalidate(call, found)
            if kept is not None:
                reason = found.reason if found.reply else REVALIDATED
                answer = self._finish(call, kept, Layer.EXACT, reason, begun, self._since(begun))
                recorded = True
                yield Delta(delta=dict(kept.message))
                yield answer
                return
            call = await self._ground(call)
            first_token_ms: float | None = None
            async with aclosing(self._providers.stream(_completion(call))) as pieces:
                async for piece in pieces:
                    first_token_ms = first_token_ms or self._since(begun)
                    if piece.reply is None:
                        yield piece
                        continue
                    reply = structs.replace(piece.reply, documents=_provenance(call))
                    await self._cache.keep(call, reply)
                    answer = self._finish(call, reply, Layer.NONE, found.reason, begun, first_token_ms)
                    recorded = True
                    yield answer
        except Exception as error:
            self._recorder.failed(call, _known(error), self._since(begun))
            raise
        except (asyncio.CancelledError, GeneratorExit):
            if not recorded:
                self._recorder.failed(call, ClientGone("the client went away"), self._since(begun))
            raise

    def _prepare(self, call: Call) -> Call:
        """Route, and bind the variables of the version that was chosen."""
        call = self.router.route(call)
        return structs.replace(call, rendered=call.messages) if call.version is None else _bind(call, call.version)

    async def _look_up(self, call: Call) -> tuple[Call, Found]:
        """Ask the cache; the call goes on under the epoch that the look was made under."""
        epoch = self._epochs.current(call.tenant, call.collection) if call.collection else None
        found = await self._cache.find(call, epoch)
        return structs.replace(call, epoch=found.epoch), found

    async def _revalidate(self, call: Call, found: Found) -> tuple[Call, Reply | None]:
        """An answer from before a change of documents is as good as new if today's documents ground it just the same.

        That holds for changed, deleted and new documents alike: the model would be asked the very same thing.
        """
        if found.candidate is None:
            return call, None
        call = await self._ground(call)
        if not call.epoch or call.grounding != found.candidate.grounding:
            return call, None
        reply = structs.replace(found.candidate.reply, documents=_provenance(call))
        await self._cache.keep(call, reply, found.candidate.expires_at)
        return call, reply

    async def _produce_once(self, call: Call) -> tuple[Call, Reply, Layer]:
        """One upstream call for identical calls in flight; calls that must not share an answer go alone."""
        if not _may_share(call):
            grounded = await self._ground(call)
            grounded, reply = await self._produce(grounded)
            return grounded, reply, Layer.NONE
        grounded = call

        async def lead() -> Reply:
            nonlocal grounded
            grounded, reply = await self._produce(await self._ground(call))
            return reply

        reply, led = await self._coalescer.join(f"{self._cache.key(call)}:{call.epoch}", lead)
        return grounded, reply, Layer.NONE if led else Layer.COALESCED

    async def _ground(self, call: Call) -> Call:
        """Fetch the documents and render the template with them."""
        version = call.version
        if version is None or call.rendered:
            return call
        values = dict(call.variables)
        if version.retrieval is not None:
            begun = self._clock.monotonic()
            policy = version.retrieval
            found = await self._retriever.find(call.tenant, policy.collection, call.epoch, call.query, policy.top_k)
            context = values[policy.into] = self._show_passages(found.passages)
            # Under an unknown epoch nothing is kept: the documents may be older than what was acknowledged.
            epoch = call.epoch if found.fresh else ""
            call = structs.replace(call, passages=found.passages, context=context, epoch=epoch)
            self._recorder.stage("retrieve", call, self._clock.monotonic() - begun)
        return structs.replace(call, rendered=(*render(version.template, values), *call.messages))

    async def _produce(self, call: Call) -> tuple[Call, Reply]:
        """Ask the chain. An answer from documents that changed meanwhile is made again, a bounded number of times."""
        for remake in range(MAX_REMAKES):
            begun = self._clock.monotonic()
            reply = await self._providers.complete(_completion(call))
            self._recorder.stage("provider", call, self._clock.monotonic() - begun)
            now = await self._ground_anew(call)
            if now.grounding == call.grounding:
                reply = structs.replace(reply, documents=_provenance(now))
                await self._cache.keep(now, reply)
                return now, reply
            if remake + 1 < MAX_REMAKES:
                call = now
        # The documents change faster than the model answers: say what it was made from, and keep nothing.
        return call, structs.replace(reply, documents=_provenance(call))

    async def _ground_anew(self, call: Call) -> Call:
        """The call as today's documents ground it; itself while its epoch is the current one."""
        if not (call.collection and call.epoch):
            return call
        epoch = await self._epochs.current(call.tenant, call.collection)
        if epoch in ("", call.epoch):
            return call
        return await self._ground(structs.replace(call, epoch=epoch, rendered=()))

    def _finish(
        self,
        call: Call,
        reply: Reply,
        layer: Layer,
        reason: str,
        begun: float,
        first_token_ms: float | None = None,
    ) -> Answer:
        charged = self._price(reply.provider, reply.model, reply.usage, call.received_at)
        answer = Answer(
            call=call,
            reply=reply,
            layer=layer,
            cost=charged,
            latency_ms=self._since(begun),
            first_token_ms=first_token_ms,
            cache_reason=reason,
        )
        self._recorder.answered(answer)
        return answer

    def _since(self, begun: float) -> float:
        return (self._clock.monotonic() - begun) * 1000


def _known(error: Exception) -> PromptyardError:
    """The error as the ledger names it; what nobody foresaw is an internal one, and no message of its is kept."""
    return error if isinstance(error, PromptyardError) else PromptyardError(type(error).__name__)


def _bind(call: Call, version: PromptVersion) -> Call:
    values = bind(version, call.variables)
    policy = version.retrieval
    query = render_text(policy.query, values) if policy else ""
    params = {**version.params, **call.params}
    return structs.replace(
        call,
        variables=values,
        params=params,
        chain=call.chain or version.chain,
        collection=policy.collection if policy else "",
        query=query,
    )


def _may_share(call: Call) -> bool:
    """Evidence is made for each user anew; what may vary or is nobody else's business is not shared either."""
    version = call.version
    return not (
        call.evidence
        or call.cache is CacheMode.BYPASS
        or (call.collection and not call.epoch)
        or (version is not None and version.personal)
        or call.params.get("temperature") != 0
    )


def _completion(call: Call) -> Completion:
    version = call.version
    return Completion(
        call_id=call.id,
        messages=call.rendered,
        params=call.params,
        chain=call.chain or (ModelRef.parse(call.model),),
        total_timeout=version.total_timeout if version else 30.0,
    )


def _provenance(call: Call) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"doc:{call.collection}/{p.document}@{p.version}" for p in call.passages))
