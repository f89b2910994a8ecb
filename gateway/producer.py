"""Making an answer that nobody has: documents, the chain, tools, and whether what came out is still true."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import Any

from msgspec import structs

from gateway.clock import Clock
from gateway.errors import DocumentsChanging, ProviderMalformed
from gateway.ports import AnswerCache, Epochs, Limits, Provider, Retriever, Toolbox
from gateway.prompts.template import render, with_history
from gateway.trail import Trail
from gateway.types import Call, Completion, Cost, Delta, Message, ModelRef, Passage, Reply, Usage

Price = Callable[[str, str, Usage, float], Cost]
"""Provider, model, usage, time of the call."""

MAX_REMAKES = 3
MAX_TOOL_ROUNDS = 5
"""Rounds of tool calls that the gateway answers itself; after them the model must answer without tools."""

_GAP = "\n\n"
"""Between what was said in different rounds."""

_NOTHING = Decimal(0)
_FREE = frozenset(
    {
        "breaker_open",
        "provider_error",
        "provider_lacks_feature",
        "provider_overloaded",
        "provider_rate_limited",
        "provider_rejected_key",
        "provider_rejected_request",
        "provider_unknown_model",
        "provider_unreachable",
    }
)


class Producer:
    """Every method tells the trail what happened. Safe to share between all requests of one event loop."""

    def __init__(
        self,
        *,
        cache: AnswerCache,
        epochs: Epochs,
        retriever: Retriever,
        providers: Provider,
        limits: Limits,
        tools: Toolbox,
        price: Price,
        show_passages: Callable[[Sequence[Passage]], str],
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._epochs = epochs
        self._retriever = retriever
        self._providers = providers
        self._limits = limits
        self._tools = tools
        self._price = price
        self._show_passages = show_passages
        self._clock = clock

    async def ground(self, call: Call, trail: Trail) -> Call:
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
            trail.passed("retrieve", begun, self._clock.monotonic())
        said = with_history(render(version.template, values), call.history)
        trail.call = structs.replace(call, rendered=(*said, *call.messages))
        return trail.call

    async def ground_anew(self, call: Call, trail: Trail) -> Call:
        """The call as today's documents ground it; itself while nothing can have changed since it was grounded.

        An unknown epoch, then or now, is a change that may be under way: SQL is asked.
        """
        if not call.collection:
            return call
        epoch = await self._epochs.current(call.tenant, call.collection)
        if epoch and epoch == call.epoch:
            return call
        return await self.ground(structs.replace(call, epoch=epoch, rendered=()), trail)

    async def produce(self, call: Call, trail: Trail) -> Reply:
        """A whole answer, kept if it may be. One whose documents changed meanwhile is made again.

        Raises ProviderError, RateLimited, BudgetExhausted, StorageUnavailable, and DocumentsChanging when they change
        faster than the model answers: an answer that an acknowledged change made wrong is not served.
        """
        call = await self.ground(call, trail)
        for _ in range(MAX_REMAKES):
            reply, may_keep = await self._converse(call, trail)
            now = await self.ground_anew(call, trail)
            if now.grounding == call.grounding:
                reply = structs.replace(reply, documents=provenance(now))
                if may_keep:
                    trail.notes["kept"] = await self._cache.keep(now, reply)
                return reply
            call = now
        raise DocumentsChanging("the documents change faster than an answer can be made", retry_after=1)

    async def stream(self, call: Call, trail: Trail) -> AsyncGenerator[Delta, None]:
        """The answer in pieces, the last one with the whole reply; as ``produce``, which see.

        Documents are checked once more when the first piece is there; after it nothing can be called back, and what
        changed meanwhile keeps the answer out of the cache.
        """
        call = await self.ground(call, trail)
        for _ in range(MAX_REMAKES):
            async with aclosing(self._converse_aloud(call, trail)) as pieces:
                first = await anext(pieces)
                now = await self.ground_anew(call, trail)
                if now.grounding != call.grounding:
                    trail.costs.append(Cost())  # what was begun is charged, and nobody says how much
                    call = now
                    continue
                may_keep = True
                piece: Delta | None = first
                while piece is not None:
                    if piece.reply is None:
                        yield piece
                    else:
                        may_keep = not trail.notes.get("tools_unrepeatable")
                        reply = structs.replace(piece.reply, documents=provenance(now))
                        if may_keep:
                            trail.notes["kept"] = await self._cache.keep(now, reply)
                        yield structs.replace(piece, reply=reply)
                    piece = await anext(pieces, None)
                return
        raise DocumentsChanging("the documents change faster than an answer can be made", retry_after=1)

    # --- one conversation with the model, tools included

    async def _converse(self, call: Call, trail: Trail) -> tuple[Reply, bool]:
        """The reply, and whether it may be kept."""
        names = _tools_of(call)
        if not names:
            return await self._ask(call, trail), True
        whole: Reply | None = None
        may_keep = True
        for number in range(MAX_TOOL_ROUNDS + 1):
            reply = await self._ask(self._with_tools(call, names, number), trail)
            whole = _joined(whole, reply)
            if number == MAX_TOOL_ROUNDS or not self._tools.owns(names, reply.message):
                break
            may_keep = may_keep and self._tools.repeatable(names, reply.message)
            call = await self._use_tools(call, reply.message, trail)
        assert whole is not None  # noqa: S101 (there is at least one round)
        return whole, may_keep

    async def _converse_aloud(self, call: Call, trail: Trail) -> AsyncGenerator[Delta, None]:
        names = _tools_of(call)
        whole: Reply | None = None
        for number in range(MAX_TOOL_ROUNDS + 1):
            asking = self._with_tools(call, names, number) if names else call
            held: list[Delta] = []  # calls of our own tools are not the caller's business
            reply: Reply | None = None
            gap = _GAP if whole is not None and whole.text else ""
            async with aclosing(self._listen(asking, trail)) as pieces:
                async for piece in pieces:
                    if piece.reply is not None:
                        reply = piece.reply
                    elif names and piece.delta.get("tool_calls"):
                        held.append(piece)
                    elif whole is None:
                        yield piece
                    elif delta := {name: value for name, value in piece.delta.items() if name != "role"}:
                        if delta.get("content") and gap:
                            yield Delta(delta={"content": gap})
                            gap = ""
                        yield structs.replace(piece, delta=delta)
            if reply is None:
                raise ProviderMalformed("the stream ended without an answer")
            whole = _joined(whole, reply)
            if number == MAX_TOOL_ROUNDS or not (names and self._tools.owns(names, reply.message)):
                for piece in held:
                    yield piece
                yield Delta(reply=whole)
                return
            if not self._tools.repeatable(names, reply.message):
                trail.notes["tools_unrepeatable"] = True
            call = await self._use_tools(call, reply.message, trail)

    def _with_tools(self, call: Call, names: Sequence[str], number: int) -> Call:
        own = self._tools.definitions(names)
        params = {**call.params, "tools": [*call.params.get("tools", ()), *own]}
        if number == MAX_TOOL_ROUNDS:
            params["tool_choice"] = "none"
        elif number:
            params.pop("tool_choice", None)  # one that forces a tool would force it for ever
        return structs.replace(call, params=params)

    async def _use_tools(self, call: Call, message: Message, trail: Trail) -> Call:
        begun = self._clock.monotonic()
        results = await self._tools.run(call, message)
        trail.passed("tools", begun, self._clock.monotonic())
        used = [tool["function"]["name"] for tool in message.get("tool_calls", ())]
        trail.notes.setdefault("tools", []).extend(used)
        return structs.replace(call, rendered=(*call.rendered, message, *results))

    # --- one upstream call

    async def _ask(self, call: Call, trail: Trail) -> Reply:
        reservation = await self._limits.reserve(call)
        begun = self._clock.monotonic()
        try:
            reply = await self._providers.complete(_completion(call, trail))
        except BaseException as error:
            await self._failed(call, trail, error, reservation)
            raise
        finally:
            trail.passed("provider", begun, self._clock.monotonic())
        await self._charge(call, trail, reply, reservation)
        return reply

    async def _listen(self, call: Call, trail: Trail) -> AsyncGenerator[Delta, None]:
        reservation = await self._limits.reserve(call)
        begun = self._clock.monotonic()
        settled = False
        try:
            async with aclosing(self._providers.stream(_completion(call, trail))) as pieces:
                async for piece in pieces:
                    if piece.reply is not None:
                        trail.passed("provider", begun, self._clock.monotonic())
                        await self._charge(call, trail, piece.reply, reservation)
                        settled = True
                    yield piece
        except BaseException as error:
            if not settled:
                trail.passed("provider", begun, self._clock.monotonic())
                await self._failed(call, trail, error, reservation)
            raise

    async def _charge(self, call: Call, trail: Trail, reply: Reply, reservation: Any) -> None:
        cost = self._price(reply.provider, reply.model, reply.usage, call.received_at)
        trail.costs.append(cost)
        await self._limits.settle(reservation, reply.usage, cost.usd)

    async def _failed(self, call: Call, trail: Trail, error: BaseException, reservation: Any) -> None:
        """What the provider reported before it broke off is charged; errors over HTTP are not; the rest is unknown."""
        partial: Reply | None = getattr(error, "partial", None)
        if partial is not None:
            await self._charge(call, trail, partial, reservation)
            return
        if _is_free(error):
            trail.costs.append(Cost(usd=_NOTHING))
            await asyncio.shield(self._limits.release(reservation))  # often on the way out of a cancelled call
        else:
            trail.costs.append(Cost())  # it may be charged: what was reserved is let go when it expires


def provenance(call: Call) -> tuple[str, ...]:
    """``doc:<collection>/<id>@<version>`` of each document that the model saw."""
    return tuple(dict.fromkeys(f"doc:{call.collection}/{p.document}@{p.version}" for p in call.passages))


def _tools_of(call: Call) -> tuple[str, ...]:
    return call.version.tools if call.version is not None else call.tools


def _completion(call: Call, trail: Trail) -> Completion:
    version = call.version
    chain = call.chain or (ModelRef.parse(call.model),)
    trail.asked = chain[0]
    return Completion(
        call_id=call.id,
        messages=call.rendered,
        params=call.params,
        chain=chain,
        total_timeout=version.total_timeout if version else 30.0,
    )


def _is_free(error: BaseException) -> bool:
    """Whether no try can have been charged: providers bill answers, not refusals."""
    codes = [attempt.error for attempt in getattr(error, "attempts", ())] or [getattr(error, "code", "")]
    return _FREE.issuperset(codes)


def _joined(before: Reply | None, reply: Reply) -> Reply:
    """The rounds of a conversation as one reply: all that was said, used and tried."""
    if before is None:
        return reply
    message = dict(reply.message)
    if before.text:
        message["content"] = f"{before.text}{_GAP}{reply.text}" if reply.text else before.text
    return structs.replace(
        reply, message=message, usage=before.usage + reply.usage, attempts=before.attempts + reply.attempts
    )
