"""The request path, top to bottom. Every stage is a port (``ports.py``); ``compose.py`` says what stands behind it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from msgspec import structs

from gateway.cache.rules import HIT, STILL_SERVED
from gateway.clock import Clock, new_id
from gateway.errors import BudgetExhausted, ClientGone, InvalidRequest, PromptyardError, ProviderError, RateLimited
from gateway.mirroring import Mirroring
from gateway.ports import AnswerCache, Coalescer, Epochs, Found, Limits, Price, Recorder
from gateway.producer import Producer, provenance
from gateway.prompts.mirrors import Mirrors
from gateway.prompts.router import Router, by_baseline
from gateway.prompts.template import bind, render_text
from gateway.refreshing import Refresher
from gateway.sharing import Sharing
from gateway.trail import Trail
from gateway.types import Answer, CacheMode, Call, Delta, Layer, Origin, PromptVersion, Reply

REVALIDATED = "revalidated"
_SERVED = STILL_SERVED | {HIT, REVALIDATED}


class Pipeline:
    """Answers calls. Safe to share between all requests of one event loop."""

    def __init__(
        self,
        *,
        router: Router,
        limits: Limits,
        cache: AnswerCache,
        epochs: Epochs,
        coalescer: Coalescer,
        producer: Producer,
        recorder: Recorder,
        price: Price,
        clock: Clock,
        count_mirrored: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self.router = router
        self._mirrors = Mirrors(router)
        self._limits = limits
        self._cache = cache
        self._epochs = epochs
        self._producer = producer
        self._sharing = Sharing(
            cache=cache, epochs=epochs, coalescer=coalescer, producer=producer, limits=limits, clock=clock
        )
        self._recorder = recorder
        self._price = price
        self._clock = clock
        self.refresher = Refresher(self._make_anew)
        self.mirroring = Mirroring(self._ask_candidate, producer.may_share, clock=clock, count=count_mirrored)

    async def answer(self, call: Call) -> Answer:
        """A whole answer. Raises PromptyardError; what was routed and admitted is recorded either way."""
        trail = Trail(call=call, begun=self._clock.monotonic(), came=call)
        if trail.begun > self.router.lease.until:
            await self.router.lease.renew()
        call = trail.call = self._prepare(call)
        admitted = self._limits.admit(call)
        try:
            found = await self._look_up(trail)
            await admitted
            return await self._whole(trail, found)
        except Exception as error:
            self._failed(trail, error)
            raise
        except asyncio.CancelledError:
            if trail.call.origin is not Origin.JOB:  # a job's item is taken up again, under the same id
                self._failed(trail, ClientGone("the client went away"))
            raise

    async def _whole(self, trail: Trail, found: Found) -> Answer:
        """From the cache, from the chain, from the baseline if an experiment's arm fails, or the last good answer."""
        if found.reply is not None:
            self._refresh_if_aged(trail.call, found)
            return self._finish(trail, found.reply, found.layer, found.reason)
        if (still_true := await self._revalidate(trail, found)) is not None:
            return self._finish(trail, still_true, found.layer, REVALIDATED)
        try:
            reply = await self._sharing.whole(trail)
        except ProviderError as error:
            if _falls_back(trail, error):
                return await self._whole(trail, await self._look_up(trail))
            if (stale := await self._last_good(trail, error)) is None:
                raise
            return self._finish(trail, stale, Layer.STALE, error.code)
        return self._finish(trail, reply, trail.layer, found.reason)

    async def stream(self, call: Call) -> AsyncGenerator[Delta | Answer, None]:
        """The answer in pieces, an Answer last, which is recorded before it is yielded. Raises PromptyardError."""
        trail = Trail(call=call, begun=self._clock.monotonic(), came=call)
        if trail.begun > self.router.lease.until:
            await self.router.lease.renew()
        call = trail.call = self._prepare(call)
        admitted = self._limits.admit(call)
        recorded = False
        try:
            found = await self._look_up(trail)
            await admitted
            async with aclosing(self._pieces(trail, found)) as pieces:
                async for piece in pieces:
                    recorded = recorded or isinstance(piece, Answer)
                    yield piece
        except Exception as error:
            if not recorded:
                self._failed(trail, error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            if not recorded:
                self._failed(trail, ClientGone("the client went away"))
            raise

    async def _pieces(self, trail: Trail, found: Found) -> AsyncGenerator[Delta | Answer, None]:
        """As ``_whole``, in pieces: once something was said nobody else goes on."""
        if found.reply is not None:
            self._refresh_if_aged(trail.call, found)
            kept, layer, reason = found.reply, found.layer, found.reason
        elif (still_true := await self._revalidate(trail, found)) is not None:
            kept, layer, reason = still_true, found.layer, REVALIDATED
        else:
            begun = False
            try:
                async with aclosing(self._fresh(trail, found.reason)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
                return
            except ProviderError as error:
                if not begun and _falls_back(trail, error):
                    async with aclosing(self._pieces(trail, await self._look_up(trail))) as pieces:
                        async for piece in pieces:
                            yield piece
                    return
                stale = None if begun else await self._last_good(trail, error)
                if stale is None:
                    raise
                kept, layer, reason = stale, Layer.STALE, error.code
        answer = self._finish(trail, kept, layer, reason, self._since(trail))
        yield Delta(delta=dict(kept.message))
        yield answer

    async def _fresh(self, trail: Trail, reason: str) -> AsyncGenerator[Delta | Answer, None]:
        first_token_ms: float | None = None
        async with aclosing(self._sharing.aloud(trail)) as pieces:
            async for piece in pieces:
                if first_token_ms is None:
                    first_token_ms = self._since(trail)
                if piece.reply is None:
                    yield piece
                else:
                    yield self._finish(trail, piece.reply, trail.layer, reason, first_token_ms)

    def _prepare(self, call: Call) -> Call:
        """Route, and bind the variables of the version that was chosen."""
        call = self.router.route(call)
        return structs.replace(call, rendered=call.messages) if call.version is None else _bind(call, call.version)

    async def _look_up(self, trail: Trail) -> Found:
        """Ask the cache; the call goes on under the epoch and the cuts that the look was made under."""
        call, begun = trail.call, self._clock.monotonic()
        if not call.collection:
            found = await self._cache.find(call)
        else:
            found = await self._cache.find(call, self._epochs.current(call.tenant, call.collection))
        trail.call = structs.replace(call, epoch=found.epoch, cuts=found.cuts)
        now = self._clock.monotonic()
        trail.passed("cache", begun, now)
        if found.local:
            trail.looked(Layer.LOCAL, found.local)
        trail.looked(found.layer, found.reason, now - begun)
        return found

    async def _revalidate(self, trail: Trail, found: Found) -> Reply | None:
        """An answer from before a change of documents is as good as new if today's documents ground it just the same.

        That holds for changed, deleted and new documents alike: the model would be asked the very same thing.
        """
        if found.candidate is None:
            return None
        call = await self._producer.ground(trail.call, trail)
        if not call.epoch or call.grounding != found.candidate.grounding:
            return None
        reply = structs.replace(found.candidate.reply, documents=provenance(call))
        await self._cache.keep(call, reply, found.candidate)
        return reply

    def _refresh_if_aged(self, call: Call, found: Found) -> None:
        if found.reason in STILL_SERVED:
            self.refresher.begin(self._cache.key(call), call, found.expires_at)

    async def _make_anew(self, served: Call, expires_at: float) -> None:
        """A call of its own, which nobody waits for; none if the answer has been made anew meanwhile."""
        now = self._clock.now()
        again = structs.replace(
            served, id=new_id("call", self._clock), origin=Origin.REFRESH, received_at=now, stream=False
        )
        trail = Trail(call=again, begun=self._clock.monotonic())
        try:
            found = await self._look_up(trail)
            if found.reply is not None and found.expires_at > expires_at:
                return
            trail.call = structs.replace(trail.call, cache=CacheMode.REFRESH)
            reply = await self._sharing.whole(trail)
            self._finish(trail, reply, trail.layer, found.reason)
        except Exception as error:
            self._failed(trail, error)
        except asyncio.CancelledError:
            self._failed(trail, ClientGone("the gateway stops"))
            raise

    async def _last_good(self, trail: Trail, error: ProviderError) -> Reply | None:
        """The last good answer, while every provider is down: past its TTL, never past its provenance."""
        if not error.fall_back:
            return None
        call = trail.call
        candidate = await self._cache.last_good(call)
        if candidate is None:
            return None
        if call.collection:
            now = await self._epochs.current(call.tenant, call.collection)
            if not now or now != candidate.epoch:
                grounded = await self._producer.ground(structs.replace(call, epoch=now, rendered=()), trail)
                if grounded.grounding != candidate.grounding:
                    return None
        return candidate.reply

    def _finish(
        self, trail: Trail, reply: Reply, layer: Layer, reason: str, first_token_ms: float | None = None
    ) -> Answer:
        paid = layer is Layer.NONE
        call = trail.call
        if layer is Layer.SEMANTIC or (layer is Layer.EXACT and reason not in _SERVED):
            reason = HIT  # found later, in another layer or when another worker had kept it: its miss is over
        told = trail.layers
        if layer in told:
            told[layer] = reason
        answer = Answer(
            call=call,
            reply=reply,
            layer=layer,
            cost=trail.cost() if paid else self._price(reply.provider, reply.model, reply.usage, call.received_at),
            in_vain=trail.cost() if trail.costs and not paid else None,
            latency_ms=self._since(trail),
            first_token_ms=first_token_ms,
            cache_reason=reason,
            layers=told,
        )
        self._recorder.answered(answer, trail)
        if paid and not reply.fell_back:
            self._mirror(trail)
        return answer

    def _failed(self, trail: Trail, error: Exception) -> None:
        if trail.left is not None:
            flight, trail.left = trail.left, None
            self._sharing.when_landed(flight, trail, lambda: self._failed(trail, error))
        elif isinstance(error, RateLimited | BudgetExhausted) and not (trail.costs or trail.call.fell_back_from):
            self._recorder.refused(trail.call, error)  # nothing has happened yet
        else:
            self._recorder.failed(trail, _known(error), self._since(trail))
            if isinstance(error, ProviderError) and not error.fall_back:  # the request was refused, for what it says
                self._mirror(trail)

    def _mirror(self, trail: Trail) -> None:
        """Ask a release's candidate too, behind the user's back: what is answered anew by the first choice alone."""
        if trail.came is not None and (mirror := self._mirrors.of(trail.call)) is not None:
            self.mirroring.begin(trail.came, mirror)

    async def _ask_candidate(self, call: Call) -> None:
        """A mirrored call. Recorded, unless there is no money for any of it; raises what went wrong with it."""
        trail = Trail(call=call, begun=self._clock.monotonic())
        try:
            trail.call = self._prepare(call)
            found = await self._look_up(trail)
            self._finish(trail, await self._sharing.whole(trail), trail.layer, found.reason)
        except Exception as error:
            if trail.costs or not isinstance(error, RateLimited | BudgetExhausted):
                self._failed(trail, error)
            raise
        except asyncio.CancelledError:
            self._failed(trail, ClientGone("the mirrored call took too long, or the gateway stops"))
            raise

    @property
    def idle(self) -> bool:
        """Whether nothing is shared or kept at this moment."""
        return self._sharing.idle

    async def settle(self) -> None:
        """Wait until what is done after answers is done."""
        await self._sharing.settle()

    def _since(self, trail: Trail) -> float:
        return (self._clock.monotonic() - trail.begun) * 1000


def _known(error: Exception) -> PromptyardError:
    """The error as the ledger names it; what nobody foresaw is an internal one, and no message of its is kept."""
    return error if isinstance(error, PromptyardError) else PromptyardError(type(error).__name__)


def _falls_back(trail: Trail, error: ProviderError) -> bool:
    """Whether the call goes on as the baseline's, since the arm that was drawn has failed. Once at most."""
    instead = by_baseline(trail.came or trail.call, trail.call)
    if instead is None or instead.version is None:
        return False
    try:
        bound = _bind(instead, instead.version)
    except InvalidRequest:  # it wants other variables
        return False
    trail.begin_again(bound, error)
    return True


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
