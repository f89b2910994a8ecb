"""A vendor as a Provider: a connection, a dialect, and the time-outs around them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from gateway.clock import Clock
from gateway.errors import ProviderError, ProviderMalformed, ProviderTimeout, ProviderUnreachable
from gateway.providers import failures
from gateway.providers.dialect import Connection, Dialect, EventStream, Parsed
from gateway.types import Completion, Delta, ModelRef, Reply

_decode = msgspec.json.Decoder().decode


class WireProvider:
    """Asks one vendor (see ``Provider``)."""

    def __init__(self, name: str, connection: Connection, dialect: Dialect, *, clock: Clock) -> None:
        self.name = name
        self._connection = connection
        self._dialect = dialect
        self._clock = clock

    async def complete(self, request: Completion) -> Reply:
        ref = request.ref
        outgoing = self._dialect.encode(request, stream=False)
        if request.on_attempt is not None:
            request.on_attempt(ref)
        try:
            payload: object = _decode(await self._connection.ask(outgoing, request.total_timeout))
        except failures.TRANSPORT_ERRORS as error:
            # "from None": the error may quote key and prompt, and a logged traceback would show it
            raise failures.from_exception(error, ref, now=self._clock.now()) from None
        if isinstance(payload, Mapping) and payload.get("error"):
            raise failures.from_body(payload, ref)
        try:
            return _reply(self._dialect.decode(payload), ref)
        except ValueError as error:
            raise _malformed(ref, error) from None

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        ref = request.ref
        outgoing = self._dialect.encode(request, stream=True)
        if request.on_attempt is not None:
            request.on_attempt(ref)
        reader = self._dialect.reader()
        started = asyncio.get_running_loop().time()
        total_deadline = started + request.total_timeout
        first_deadline = min(total_deadline, started + request.first_token_timeout)
        held: list[Delta] = []
        begun = False
        events: EventStream | None = None
        try:
            async with asyncio.timeout_at(first_deadline):
                events = await self._connection.listen(outgoing, request.total_timeout)
            iterator = aiter(events)
            while True:
                # one scope an event: a time-out scope that spanned a yield would cancel the consumer
                async with asyncio.timeout_at(total_deadline if begun else first_deadline):
                    event = await anext(iterator, None)
                if event is None:
                    break
                if not (delta := reader.feed(event)):
                    continue
                # A bare role is no token: while it is held back another provider can still take over.
                held.append(Delta(delta=delta))
                begun = begun or _has_token(delta)
                if begun:
                    for piece in held:
                        yield piece
                    held.clear()
            parsed = reader.finish()
            if parsed is None:
                raise _Unfinished
        except _STREAM_ERRORS as error:
            failure = self._broken(error, request, begun=begun)
            if begun:
                failure.partial = _reply(reader.so_far(), ref)
            raise failure from None
        finally:
            if events is not None:
                await events.close()
        for piece in held:
            yield piece
        yield Delta(reply=_reply(parsed, ref))

    def _broken(self, error: Exception, request: Completion, *, begun: bool) -> ProviderError:
        ref = request.ref
        if isinstance(error, _Unfinished):
            return ProviderUnreachable(
                f"{ref} ended the stream before the answer was complete.", provider=ref.provider, model=ref.model
            )
        if isinstance(error, TimeoutError) and not begun:
            return ProviderTimeout(
                f"{ref} sent no token within {request.first_token_timeout:g} s.", provider=ref.provider, model=ref.model
            )
        if isinstance(error, failures.TRANSPORT_ERRORS):
            return failures.from_exception(error, ref, now=self._clock.now())
        return _malformed(ref, error)

    async def aclose(self) -> None:
        await self._connection.aclose()


class _Unfinished(Exception):
    """The stream ended in good order, and too early."""


_STREAM_ERRORS: tuple[type[Exception], ...] = (*failures.TRANSPORT_ERRORS, ValueError, _Unfinished)


def _has_token(delta: Mapping[str, Any]) -> bool:
    return any(value for name, value in delta.items() if name != "role")


def _reply(parsed: Parsed, ref: ModelRef) -> Reply:
    # The model asked for, not the dated name that the vendor answers with: prices and attempts are told by it.
    return Reply(
        message=parsed.message,
        finish_reason=parsed.finish_reason,
        provider=ref.provider,
        model=ref.model,
        usage=parsed.usage,
    )


def _malformed(ref: ModelRef, error: Exception) -> ProviderMalformed:
    return ProviderMalformed(f"{ref} broke its protocol: {error}", provider=ref.provider, model=ref.model)
