"""Tries a provider again: bounded in number, in time and by a budget that all calls share."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from msgspec.structs import replace

from gateway.clock import Clock
from gateway.errors import ProviderError
from gateway.providers import attempts
from gateway.providers.base import Provider
from gateway.types import Attempt, Completion, Delta, Reply

_RESERVE = 10.0


class RetryBudget:
    """Retries as a share of calls, so that an outage does not multiply the load on whoever still answers.

    Each call deposits ``ratio``, each retry withdraws 1. A reserve of ten lets a quiet process retry at all; the
    balance never exceeds it, so savings of a quiet hour cannot fund a storm. A ratio of 0 forbids retries.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._limit = _RESERVE if ratio > 0 else 0.0
        self._balance = self._limit

    def deposit(self) -> None:
        self._balance = min(self._limit, self._balance + self._ratio)

    def withdraw(self) -> bool:
        """Whether a retry may be made; if so it is paid for."""
        if self._balance < 1:
            return False
        self._balance -= 1
        return True


class Retrying:
    """A Provider that asks ``provider`` up to ``max_attempts`` times, if the error says that it may help.

    Waits are drawn from 0 to ``base``·2ⁿ seconds, at most ``cap`` ("full jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). ``Retry-After`` is never undercut; when
    waiting would use more than half of the time left, the error is raised instead. All tries share the time of the one
    request. ``sleep`` takes seconds.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        max_attempts: int,
        budget: RetryBudget,
        clock: Clock,
        entropy: random.Random,
        base: float = 0.1,
        cap: float = 2.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = provider.name
        self._provider = provider
        self._max_attempts = max_attempts
        self._budget = budget
        self._clock = clock
        self._entropy = entropy
        self._base = base
        self._cap = cap
        self._sleep = sleep

    async def complete(self, request: Completion) -> Reply:
        if request.unheard:
            return await self._once(request)
        tries = _Tries(self._clock, request)
        self._budget.deposit()
        while True:
            try:
                reply = await self._provider.complete(tries.next_request())
            except ProviderError as error:
                await self._wait_or_raise(error, tries)
            else:
                return tries.ended_well(reply)

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        tries = _Tries(self._clock, request)
        self._budget.deposit()
        while True:
            begun = False
            try:
                async with aclosing(self._provider.stream(tries.next_request())) as deltas:
                    async for delta in deltas:
                        begun = True
                        if delta.reply is not None:
                            delta = replace(delta, reply=tries.ended_well(delta.reply))
                        yield delta
                return
            except ProviderError as error:
                if begun:
                    tries.ended_badly(error)
                    raise attempts.attach(error, tries.made) from None
                await self._wait_or_raise(error, tries, first_token=True)

    async def aclose(self) -> None:
        await self._provider.aclose()

    async def _once(self, request: Completion) -> Reply:
        """Neither pays into the budget that users' calls are tried again from, nor takes from it."""
        tries = _Tries(self._clock, request)
        try:
            return tries.ended_well(await self._provider.complete(tries.next_request()))
        except ProviderError as error:
            tries.ended_badly(error)
            raise attempts.attach(error, tries.made) from None

    async def _wait_or_raise(self, error: ProviderError, tries: "_Tries", *, first_token: bool = False) -> None:
        tries.ended_badly(error)
        wait = self._backoff(tries.count, error.retry_after)
        left = tries.time_left(first_token=first_token)
        if error.retryable and tries.count < self._max_attempts and wait <= left / 2 and self._budget.withdraw():
            await self._sleep(wait)
            return
        raise attempts.attach(error, tries.made) from None

    def _backoff(self, tries_made: int, retry_after: float | None) -> float:
        if retry_after is not None:
            return retry_after + self._entropy.uniform(0, self._base)
        return self._entropy.uniform(0, min(self._cap, self._base * 2 ** (tries_made - 1)))


class _Tries:
    """The book of one call: what was tried, and how much of its time is left."""

    def __init__(self, clock: Clock, request: Completion) -> None:
        self.made: tuple[Attempt, ...] = ()
        self.count = 0
        self._clock = clock
        self._request = request
        self._started = self._try_started = clock.monotonic()

    def time_left(self, *, first_token: bool) -> float:
        """Seconds. A link that streams must begin within the first-token time-out, however often it was tried."""
        request = self._request
        limit = min(request.total_timeout, request.first_token_timeout) if first_token else request.total_timeout
        return limit - (self._clock.monotonic() - self._started)

    def next_request(self) -> Completion:
        self.count += 1
        if self.count == 1:
            return self._request
        self._try_started = self._clock.monotonic()
        spent = self._try_started - self._started
        return replace(
            self._request,
            total_timeout=self._request.total_timeout - spent,
            first_token_timeout=self._request.first_token_timeout - spent,
        )

    def ended_well(self, reply: Reply) -> Reply:
        self.made += attempts.succeeded(reply, self._request.ref, self._latency_ms())
        return replace(reply, attempts=self.made)

    def ended_badly(self, error: ProviderError) -> None:
        self.made += attempts.failed(error, self._request.ref, self._latency_ms())

    def _latency_ms(self) -> float:
        return (self._clock.monotonic() - self._try_started) * 1000
