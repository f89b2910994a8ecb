"""One conversation with the model, the tools that the gateway executes included, and what it costs."""

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import Any

from msgspec import structs

from gateway.clock import Clock
from gateway.errors import InvalidRequest, ProviderMalformed
from gateway.limits import estimate
from gateway.ports import Limits, Price, Provider, Toolbox
from gateway.settings import ChainSettings
from gateway.trail import Trail
from gateway.types import Call, Completion, Cost, Delta, Message, ModelRef, Origin, Reply, Usage

MAX_TOOL_ROUNDS = 5
"""Rounds of tool calls that the gateway answers itself; after them the model must answer without tools."""

UNREPEATABLE = "tools_unrepeatable"
SEARCHED = "tools_searched"
"""Notes of a trail: whether a tool may say something else next time, and whether one has looked into documents."""

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


class Dialogue:
    """Every method tells the trail what happened. Safe to share between all requests of one event loop."""

    def __init__(
        self, *, providers: Provider, limits: Limits, tools: Toolbox, price: Price, chain: ChainSettings, clock: Clock
    ) -> None:
        """``chain`` bounds a call whose prompt does not."""
        self._providers = providers
        self._limits = limits
        self._tools = tools
        self._price = price
        self._chain = chain
        self._clock = clock

    def may_share(self, call: Call) -> bool:
        """Whether identical calls in flight may be one, as far as tools are concerned."""
        names = _tools_of(call)
        return not names or self._tools.shareable(names)

    async def whole(self, call: Call, trail: Trail) -> Reply:
        """The whole reply; its ``documents`` are those that tools have seen."""
        names = _tools_of(call)
        if not names:
            return await self._ask(call, trail)
        whole: Reply | None = None
        seen: tuple[str, ...] = ()
        for number in range(MAX_TOOL_ROUNDS + 1):
            reply = await self._ask(self._with_tools(call, names, number), trail)
            whole = _joined(whole, reply)
            if number == MAX_TOOL_ROUNDS or not self._tools.owns(names, reply.message):
                break
            call, read = await self._use_tools(call, names, reply.message, trail)
            seen += read
        assert whole is not None  # noqa: S101 (there is at least one round)
        return structs.replace(whole, documents=seen)

    async def aloud(self, call: Call, trail: Trail) -> AsyncGenerator[Delta, None]:
        """The reply in pieces, the whole of it last.

        With tools, nothing leaves before something is said: until then, what they have read can still be checked.
        """
        names = _tools_of(call)
        whole: Reply | None = None
        seen: tuple[str, ...] = ()
        said = False
        for number in range(MAX_TOOL_ROUNDS + 1):
            asking = self._with_tools(call, names, number) if names else call
            held: list[Delta] = []
            reply: Reply | None = None
            gap = _GAP if whole is not None and whole.text else ""
            async with aclosing(self._listen(asking, trail)) as pieces:
                async for piece in pieces:
                    if piece.reply is not None:
                        reply = piece.reply
                    elif not names:
                        yield piece
                    elif piece.delta.get("tool_calls") or not _speaks(piece):
                        held.append(piece)
                    else:
                        if not said:
                            for opening in _roles(held):
                                yield opening
                        elif gap and piece.delta.get("content"):
                            yield Delta(delta={"content": gap})
                            gap = ""
                        yield structs.replace(piece, delta=_without_role(piece)) if said else piece
                        said = True
            if reply is None:
                raise ProviderMalformed("the stream ended without an answer")
            whole = _joined(whole, reply)
            if number == MAX_TOOL_ROUNDS or not (names and self._tools.owns(names, reply.message)):
                for piece in held:
                    if not said or piece.delta.get("tool_calls"):
                        yield piece
                yield Delta(reply=structs.replace(whole, documents=seen) if names else whole)
                return
            call, read = await self._use_tools(call, names, reply.message, trail)
            seen += read

    def _with_tools(self, call: Call, names: Sequence[str], number: int) -> Call:
        theirs = call.params.get("tools", ())
        if not isinstance(theirs, list | tuple):
            raise InvalidRequest("'tools' must be a list")
        if taken := sorted(set(names).intersection(map(_name_of, theirs))):
            raise InvalidRequest(f"the tool {taken[0]!r} is the gateway's own here", hint="Give yours another name.")
        params = {**call.params, "tools": [*theirs, *self._tools.definitions(names)]}
        if number == MAX_TOOL_ROUNDS:
            params["tool_choice"] = "none"
        elif number:
            params.pop("tool_choice", None)  # one that forces a tool would force it for ever
        return structs.replace(call, params=params)

    async def _use_tools(
        self, call: Call, names: Sequence[str], message: Message, trail: Trail
    ) -> tuple[Call, tuple[str, ...]]:
        """The call with the results, and the documents that they come from."""
        begun = self._clock.monotonic()
        results = await self._tools.run(call, message)
        trail.passed("tools", begun, self._clock.monotonic())
        trail.notes.setdefault("tools", []).extend(map(_name_of, message.get("tool_calls", ())))
        if not results.sound or not self._tools.repeatable(names, message):
            trail.notes[UNREPEATABLE] = True
        if results.searched:
            trail.notes[SEARCHED] = True
        return structs.replace(call, rendered=(*call.rendered, *results.messages)), results.documents

    # --- one upstream call

    async def _ask(self, call: Call, trail: Trail) -> Reply:
        reservation = await self._reserve(call, trail)
        begun = self._clock.monotonic()
        try:
            reply = await self._providers.complete(self._completion(call, trail))
        except BaseException as error:
            await self._failed(call, trail, error, reservation)
            raise
        finally:
            trail.passed("provider", begun, self._clock.monotonic())
        await self._charge(call, trail, reply, reservation)
        return reply

    async def _listen(self, call: Call, trail: Trail) -> AsyncGenerator[Delta, None]:
        reservation = await self._reserve(call, trail)
        begun = self._clock.monotonic()
        settled = False
        said = 0
        try:
            async with aclosing(self._providers.stream(self._completion(call, trail))) as pieces:
                async for piece in pieces:
                    if piece.reply is not None:
                        trail.passed("provider", begun, self._clock.monotonic())
                        await self._charge(call, trail, piece.reply, reservation)
                        settled = True
                    else:
                        said += estimate.characters(piece.delta)
                    yield piece
        except BaseException as error:
            if not settled:
                trail.passed("provider", begun, self._clock.monotonic())
                await self._failed(call, trail, error, reservation, said)
            raise

    async def _reserve(self, call: Call, trail: Trail) -> Any:
        reserving, trail.reserving = trail.reserving, None
        return await (self._limits.reserve(call) if reserving is None else reserving)

    def _completion(self, call: Call, trail: Trail) -> Completion:
        version = call.version

        def asked(ref: ModelRef) -> None:
            trail.asked = ref

        return Completion(
            call_id=call.id,
            messages=call.rendered,
            params=call.params,
            chain=call.chain or (ModelRef.parse(call.model),),
            total_timeout=version.total_timeout if version else self._chain.total_timeout,
            first_token_timeout=self._chain.first_token_timeout,
            # What is mirrored is refused at once, as a user's call is: it must not wait for what users need.
            background=call.origin not in (Origin.LIVE, Origin.MIRROR),
            unheard=call.origin is Origin.MIRROR,
            on_attempt=asked,
        )

    async def _charge(self, call: Call, trail: Trail, reply: Reply, reservation: Any) -> None:
        cost = self._price(reply.provider, reply.model, reply.usage, call.received_at)
        trail.costs.append(cost)
        await self._limits.settle(reservation, reply.usage, cost.usd)

    async def _failed(self, call: Call, trail: Trail, error: BaseException, reservation: Any, said: int = 0) -> None:
        """What the provider reported before it broke off is charged; errors over HTTP are not; the rest is unknown.

        Of an answer that had begun (``said`` characters) limits count an estimate: whoever leaves each stream before
        its last chunk, which tells the usage, must not spend without bound.
        """
        partial: Reply | None = getattr(error, "partial", None)
        if partial is not None and partial.usage.complete:
            await self._charge(call, trail, partial, reservation)
        elif said and trail.asked is not None:
            ref, at = trail.asked, call.received_at
            trail.costs.append(self._price(ref.provider, ref.model, Usage(complete=False), at))
            sent = estimate.likely_input(call.rendered, call.params)
            known = partial.usage.input_tokens if partial is not None else 0
            usage = Usage(known or sent, math.ceil(said / estimate.CHARACTERS_A_TOKEN))
            usd = self._price(ref.provider, ref.model, usage, at).usd
            await asyncio.shield(self._limits.settle(reservation, usage, usd))
        elif _is_free(error):
            trail.costs.append(Cost(usd=_NOTHING))
            await asyncio.shield(self._limits.release(reservation))  # often on the way out of a cancelled call
        else:
            trail.costs.append(Cost())  # it may be charged: what was reserved is let go when it expires


def _name_of(tool: Any) -> str:
    """Of a tool, or of a call of one, in OpenAI's shape or in Anthropic's; empty for what has no name."""
    if not isinstance(tool, Mapping):
        return ""
    function = tool.get("function")
    name = (function if isinstance(function, Mapping) else tool).get("name")
    return name if isinstance(name, str) else ""


def _speaks(piece: Delta) -> bool:
    return any(_without_role(piece).values())


def _without_role(piece: Delta) -> Mapping[str, Any]:
    return {name: value for name, value in piece.delta.items() if name != "role"}


def _roles(held: Sequence[Delta]) -> Sequence[Delta]:
    return [piece for piece in held if piece.delta.get("role")]


def _tools_of(call: Call) -> tuple[str, ...]:
    return call.version.tools if call.version is not None else call.tools


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
