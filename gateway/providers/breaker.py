"""Stops asking a provider's model that keeps failing, and finds out by single probes when it is well again."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from enum import StrEnum

from gateway.clock import Clock
from gateway.errors import BreakerOpen, ProviderError, ProviderRejectedRequest
from gateway.providers.base import Provider
from gateway.providers.failures import ProviderLacksFeature
from gateway.types import Completion, Delta, ModelRef, Reply

_MOST_MODELS = 1024


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """The circuit of one model. Not for use from several threads.

    Closed: all pass; ``failures`` in a row open it. Open: nothing passes for ``cooldown`` seconds. Half-open: one probe
    passes; its success closes the circuit, its failure opens it for another cooldown.
    """

    def __init__(self, failures: int, cooldown: float, clock: Clock) -> None:
        self._failures = failures
        self._cooldown = cooldown
        self._clock = clock
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        if self._opened_at is None:
            return State.CLOSED
        return State.OPEN if self.retry_after > 0 else State.HALF_OPEN

    @property
    def retry_after(self) -> float:
        """Seconds until a probe may pass."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._cooldown - self._clock.monotonic())

    def admit(self) -> bool | None:
        """True: passes as the probe. False: passes. None: does not pass."""
        if self.state is State.CLOSED:
            return False
        if self.state is State.OPEN or self._probing:
            return None
        self._probing = True
        return True

    def succeeded(self, *, probe: bool) -> None:
        if probe or self._opened_at is None:  # a call from before the opening proves nothing about now
            self._in_a_row, self._opened_at = 0, None

    def failed(self, *, probe: bool) -> None:
        if self._opened_at is not None and not probe:
            return  # a straggler must not prolong the cooldown
        self._in_a_row += 1
        if probe or self._in_a_row >= self._failures:
            self._opened_at = self._clock.monotonic()

    def released(self, *, probe: bool) -> None:
        """The call is over, whatever came of it: a cancelled probe lets the next one through."""
        if probe:
            self._probing = False


class Breaking:
    """A Provider with a breaker per model before ``provider``; raises ``BreakerOpen`` instead of asking.

    Failures of the provider count. Requests that it refused prove that it is up; what was never sent proves nothing.
    """

    def __init__(self, provider: Provider, *, failures: int, cooldown: float, clock: Clock) -> None:
        self.name = provider.name
        self._provider = provider
        self._failures = failures
        self._cooldown = cooldown
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}

    def states(self) -> dict[str, State]:
        """The state by model, of the models that were asked for lately."""
        return {model: breaker.state for model, breaker in self._breakers.items()}

    async def complete(self, request: Completion) -> Reply:
        with self._guarded(request.ref):
            return await self._provider.complete(request)

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        with self._guarded(request.ref):
            async with aclosing(self._provider.stream(request)) as deltas:
                async for delta in deltas:
                    yield delta

    async def aclose(self) -> None:
        await self._provider.aclose()

    @contextmanager
    def _guarded(self, ref: ModelRef) -> Iterator[None]:
        breaker = self._breaker(ref.model)
        probe = breaker.admit()
        if probe is None:
            raise BreakerOpen(
                f"{ref} failed repeatedly and is left alone for a while.",
                provider=ref.provider,
                model=ref.model,
                retry_after=breaker.retry_after or None,
            )
        try:
            yield
        except ProviderLacksFeature:
            raise
        except ProviderRejectedRequest:
            breaker.succeeded(probe=probe)
            raise
        except ProviderError:
            breaker.failed(probe=probe)
            raise
        else:
            breaker.succeeded(probe=probe)
        finally:
            breaker.released(probe=probe)

    def _breaker(self, model: str) -> Breaker:
        breaker = self._breakers.get(model)
        if breaker is None:
            if len(self._breakers) >= _MOST_MODELS:  # callers may name any model: the table must not grow with them
                self._breakers.pop(next(iter(self._breakers)))
            breaker = self._breakers[model] = Breaker(self._failures, self._cooldown, self._clock)
        return breaker
