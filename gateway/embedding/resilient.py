"""An embedding model that is tried again, within bounds, and left alone while it keeps failing."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import structs

from gateway.clock import Clock
from gateway.embedding.base import AroundModel, Embedded, EmbeddingModel, Input
from gateway.errors import BreakerOpen, ProviderError, ProviderRejectedRequest, ProviderTimeout
from gateway.types import Attempt, ModelRef


class Circuit(Protocol):
    """The breaker of one model. ``admit``: True passes as the probe, False passes, None does not pass."""

    @property
    def retry_after(self) -> float: ...
    def admit(self) -> bool | None: ...
    def succeeded(self, *, probe: bool) -> object: ...
    def failed(self, *, probe: bool) -> object: ...
    def released(self, *, probe: bool) -> object: ...


class Budget(Protocol):
    """Retries as a share of requests."""

    def deposit(self) -> None: ...
    def withdraw(self) -> bool: ...


class Resilience(Protocol):
    """Bounds of the tries of one request. Times are seconds."""

    @property
    def total_timeout(self) -> float: ...
    @property
    def max_attempts_per_link(self) -> int: ...
    @property
    def backoff_base(self) -> float: ...
    @property
    def backoff_cap(self) -> float: ...


class Resilient(AroundModel):
    """An EmbeddingModel around ``inner``; answers and errors carry ``attempts``.

    Retried are errors that say that it may help, as far as number, time and budget allow, after 0 to
    ``backoff_base``·2ⁿ seconds, and never sooner than ``Retry-After``. Each try passes the breaker: what the model
    failed to do counts against it, what it refused to do does not.
    """

    def __init__(
        self,
        inner: EmbeddingModel,
        ref: ModelRef,
        bounds: Resilience,
        *,
        circuit: Circuit,
        budget: Budget,
        clock: Clock,
        entropy: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(inner)
        self._ref = ref
        self._bounds = bounds
        self._circuit = circuit
        self._budget = budget
        self._clock = clock
        self._entropy = entropy
        self._sleep = sleep

    async def answer(self, inputs: Sequence[Input]) -> Embedded:
        """Within ``total_timeout`` seconds. Raises BreakerOpen, and what the inner model raises."""
        deadline = self._clock.monotonic() + self._bounds.total_timeout
        made: tuple[Attempt, ...] = ()
        self._budget.deposit()
        while True:
            begun = self._clock.monotonic()
            try:
                answer = await self._guarded(inputs, deadline - begun)
            except ProviderError as error:
                made += (self._attempt(begun, error.code),)
                wait = self._wait(error, len(made), deadline)
                if wait is None:
                    error.attempts = made
                    raise
                await self._sleep(wait)
            else:
                return structs.replace(answer, attempts=(*made, self._attempt(begun)))

    async def _guarded(self, inputs: Sequence[Input], seconds: float) -> Embedded:
        probe = self._circuit.admit()
        if probe is None:
            raise BreakerOpen(
                f"{self._ref} failed repeatedly and is left alone for a while.",
                provider=self._ref.provider,
                model=self._ref.model,
                retry_after=self._circuit.retry_after or None,
            )
        try:
            async with asyncio.timeout(seconds):
                answer = await self._inner.answer(inputs)
        except TimeoutError:
            self._circuit.failed(probe=probe)
            raise ProviderTimeout(
                f"{self._ref} did not answer in time.", provider=self._ref.provider, model=self._ref.model
            ) from None
        except ProviderRejectedRequest:
            self._circuit.succeeded(probe=probe)  # who refuses is up
            raise
        except ProviderError:
            self._circuit.failed(probe=probe)
            raise
        else:
            self._circuit.succeeded(probe=probe)
            return answer
        finally:
            self._circuit.released(probe=probe)

    def _wait(self, error: ProviderError, tries: int, deadline: float) -> float | None:
        """Seconds until the next try; None when there is none. Waiting may use half of the time left."""
        base, cap = self._bounds.backoff_base, self._bounds.backoff_cap
        if error.retry_after is None:
            wait = self._entropy.uniform(0, min(cap, base * 2 ** (tries - 1)))
        else:
            wait = error.retry_after + self._entropy.uniform(0, base)
        left = deadline - self._clock.monotonic()
        may = error.retryable and tries < self._bounds.max_attempts_per_link and wait <= left / 2
        return wait if may and self._budget.withdraw() else None

    def _attempt(self, begun: float, error: str = "") -> Attempt:
        latency_ms = (self._clock.monotonic() - begun) * 1000
        return Attempt(self._ref.provider, self._ref.model, latency_ms, error)
