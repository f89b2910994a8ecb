"""A Provider that is not asked while its breaker is open."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from msgspec.structs import replace

from gateway.clock import Clock
from gateway.errors import BreakerOpen, ProviderError, ProviderRejectedRequest
from gateway.providers.base import Provider
from gateway.providers.breaker import Breaker, State
from gateway.providers.breaker_board import LOOK_EVERY, Alone, BreakerBoard, Claim
from gateway.providers.limited import ProviderLimitReached
from gateway.providers.unsent import ProviderLacksFeature
from gateway.types import Completion, Delta, ModelRef, Reply

PATIENCE = 1.5
"""Seconds that a call waits for a probe when nobody else is left to ask."""
_LOOKS_EVERY = 0.02
_MOST_MODELS = 1024
_PROVE_NOTHING = (ProviderLacksFeature, ProviderLimitReached)
"""Nothing was sent."""


class Breaking:
    """A breaker per model before ``provider``; raises ``BreakerOpen`` instead of asking.

    Failures of the provider count. Requests that it refused prove that it is up; what was never sent proves nothing.
    Nor does what became of an ``unheard`` request, which an open breaker refuses whether or not it might probe.
    ``board`` is where workers tell each other; while all is well nothing is asked of it.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        failures: int,
        cooldown: float,
        clock: Clock,
        board: BreakerBoard | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = provider.name
        self._provider = provider
        self._failures = failures
        self._cooldown = cooldown
        self._clock = clock
        self._board = board or Alone()
        self._sleep = sleep
        self._breakers: dict[str, Breaker] = {}
        self._board.listen(provider.name, self._learn)

    def states(self) -> dict[str, State]:
        """The state by model, of the models that were asked for lately."""
        return {model: breaker.state for model, breaker in self._breakers.items()}

    async def complete(self, request: Completion) -> Reply:
        breaker = self._breaker(request.ref.model)
        if request.unheard:
            if breaker.state is not State.CLOSED:
                raise self._left_alone(breaker, request.ref)
            return await self._provider.complete(request)
        probe = breaker.admit()
        if probe is not False:
            request, probe = await self._wait(breaker, probe, request)
        error: BaseException | None = None
        try:
            return await self._provider.complete(request)
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._over(breaker, request.ref, probe, error)

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        breaker = self._breaker(request.ref.model)
        probe = breaker.admit()
        if probe is not False:
            request, probe = await self._wait(breaker, probe, request)
        error: BaseException | None = None
        try:
            async with aclosing(self._provider.stream(request)) as deltas:
                async for delta in deltas:
                    yield delta
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._over(breaker, request.ref, probe, error)

    async def aclose(self) -> None:
        await self._provider.aclose()

    async def _wait(self, breaker: Breaker, probe: bool | None, request: Completion) -> tuple[Completion, bool]:
        """Whether the request probes, and what is left of its time: a patient one waits for other probes to end."""
        begun = self._clock.monotonic()
        patience = min(PATIENCE, request.first_token_timeout / 2, request.total_timeout / 2) if request.patient else 0.0
        while True:
            try:
                probes = probe is not False and await self._claim(breaker, probe, request.ref)
            except BreakerOpen as error:
                left = patience - (self._clock.monotonic() - begun)
                if left <= 0 or breaker.retry_after > left:
                    raise error from None
            else:
                break
            await self._sleep(max(_LOOKS_EVERY, breaker.retry_after))
            probe = breaker.admit()
        waited = self._clock.monotonic() - begun
        left_of = {"total_timeout": request.total_timeout, "first_token_timeout": request.first_token_timeout}
        return replace(request, **{name: seconds - waited for name, seconds in left_of.items()}), probes

    async def _claim(self, breaker: Breaker, probe: bool | None, ref: ModelRef) -> bool:
        """True for the one call among all workers that probes, False if there is nothing to probe any more."""
        if probe:
            claim = None
            try:
                claim = await self._board.claim(ref)
            finally:
                if claim is not Claim.GRANTED:
                    breaker.released(probe=True)
                if claim is None:  # cancelled: it may have been granted all the same
                    self._board.released(ref)
            if claim is Claim.GRANTED:
                return True
            if claim is Claim.CLOSED:
                breaker.learn_closed()
                return False
            breaker.stand_back(LOOK_EVERY)
        raise self._left_alone(breaker, ref)

    @staticmethod
    def _left_alone(breaker: Breaker, ref: ModelRef) -> BreakerOpen:
        error = BreakerOpen(
            f"{ref} failed repeatedly and is left alone for a while.",
            provider=ref.provider,
            model=ref.model,
            retry_after=breaker.retry_after or None,
        )
        error.known_in = breaker.retry_after
        return error

    def _over(self, breaker: Breaker, ref: ModelRef, probe: bool, error: BaseException | None) -> None:
        if error is None or isinstance(error, ProviderRejectedRequest):
            breaker.succeeded(probe=probe)
            if probe:
                self._board.closed(ref)
        elif isinstance(error, ProviderError) and not isinstance(error, _PROVE_NOTHING):
            if breaker.failed(probe=probe):
                self._board.opened(ref, self._cooldown)
        elif probe:
            self._board.released(ref)
        breaker.released(probe=probe)

    def _learn(self, model: str, seconds: float | None) -> None:
        breaker = self._breaker(model)
        if seconds is None:
            breaker.learn_closed()
        else:
            breaker.learn_open(seconds)

    def _breaker(self, model: str) -> Breaker:
        breaker = self._breakers.get(model)
        if breaker is None:
            if len(self._breakers) >= _MOST_MODELS:  # callers may name any model: the table must not grow with them
                self._breakers.pop(next(iter(self._breakers)))
            breaker = self._breakers[model] = Breaker(self._failures, self._cooldown, self._clock)
        return breaker
