"""A Provider that asks the limits of a model before it asks the model."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from msgspec.structs import replace

from gateway.clock import Clock
from gateway.errors import ProviderError, ProviderRateLimited
from gateway.providers.base import Provider
from gateway.types import Completion, Delta, Reply, Usage


class ModelGate(Protocol):
    """What we may ask of ``request.ref``, for all keys and workers together."""

    async def enter(self, request: Completion, background: bool) -> float:
        """0.0: ask now. Else the seconds until it may be asked; background calls have waited by then, boundedly."""
        ...

    async def settle(self, request: Completion, usage: Usage | None) -> None:
        """The call that entered is over; ``usage`` is None when it failed. Never raises.

        Not called for a stream that broke off before its usage was reported: its estimate stays counted.
        """
        ...


class ProviderLimitReached(ProviderRateLimited):
    """Our own limit of the model is used up: nothing was sent, and the next link of the chain is asked."""

    retryable = False
    default_hint = "Wait, raise the limit of the provider's model, or put another model into the chain."


class Limited:
    """Enters the gate before each try of ``provider`` and settles after it.

    Raises ``ProviderLimitReached`` where the gate stays shut; what a background call waited is part of its time.
    """

    def __init__(self, provider: Provider, gate: ModelGate, clock: Clock) -> None:
        self.name = provider.name
        self._provider = provider
        self._gate = gate
        self._clock = clock

    async def complete(self, request: Completion) -> Reply:
        request = await self._enter(request, request.total_timeout)
        usage: Usage | None = None
        try:
            reply = await self._provider.complete(request)
            usage = reply.usage
            return reply
        finally:
            await self._gate.settle(request, usage)

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        request = await self._enter(request, min(request.total_timeout, request.first_token_timeout))
        usage: Usage | None = None
        begun = False
        try:
            async with aclosing(self._provider.stream(request)) as deltas:
                async for delta in deltas:
                    begun = True
                    if delta.reply is not None:
                        usage = delta.reply.usage
                    yield delta
        except ProviderError as error:
            if error.partial is not None and error.partial.usage.complete:
                usage = error.partial.usage
            raise
        finally:
            if usage is not None or not begun:
                await self._gate.settle(request, usage)

    async def aclose(self) -> None:
        await self._provider.aclose()

    async def _enter(self, request: Completion, patience: float) -> Completion:
        """The request with the time that is left to it."""
        begun = self._clock.monotonic()
        try:
            async with asyncio.timeout(patience):
                wait = await self._gate.enter(request, request.background)
        except TimeoutError:
            wait = patience
        if wait > 0:
            ref = request.ref
            raise ProviderLimitReached(
                f"The limit of {ref} is used up.", provider=ref.provider, model=ref.model, retry_after=wait
            )
        waited = self._clock.monotonic() - begun
        if not request.background or waited <= 0:
            return request
        return replace(
            request,
            total_timeout=max(0.001, request.total_timeout - waited),
            first_token_timeout=max(0.001, request.first_token_timeout - waited),
        )
