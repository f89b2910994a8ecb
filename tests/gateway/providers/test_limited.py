"""The limits of a model stand before each try of it, and refuse without blaming it."""

import asyncio
import random

import pytest

from gateway.clock import ManualClock
from gateway.errors import ChainExhausted, ProviderOverloaded, ProviderRateLimited
from gateway.providers import attempts
from gateway.providers.breaker import State
from gateway.providers.breaking import Breaking
from gateway.providers.fallback import FallbackChain
from gateway.providers.limited import Limited, ProviderLimitReached
from gateway.providers.retry import RetryBudget, Retrying
from gateway.types import Completion, ModelRef, Usage
from tests.gateway.providers.fakes import ScriptedProvider, collect, request_for

REF = ModelRef("one", "m")


class Gate:
    """Answers ``waits`` in turn, then always lets in; a background call has waited ``patience`` seconds by then."""

    def __init__(self, *waits: float, clock: ManualClock | None = None, patience: float = 0.0) -> None:
        self.waits = list(waits)
        self.entered: list[bool] = []
        self.settled: list[Usage | None] = []
        self._clock = clock
        self._patience = patience

    async def enter(self, request: Completion, background: bool) -> float:
        self.entered.append(background)
        if background and self._clock:
            self._clock.advance(self._patience)
        return self.waits.pop(0) if self.waits else 0.0

    async def settle(self, request: Completion, usage: Usage | None) -> None:
        self.settled.append(usage)


@pytest.mark.parametrize("streaming", [False, True])
async def test_what_was_used_is_settled_and_a_failure_gives_back(streaming: bool) -> None:
    gate = Gate()
    limited = Limited(ScriptedProvider(None, ProviderOverloaded("x")), gate, ManualClock())

    async def call() -> None:
        await (collect(limited.stream(request_for(REF))) if streaming else limited.complete(request_for(REF)))

    await call()
    with pytest.raises(ProviderOverloaded):
        await call()
    assert gate.settled == [Usage(3, 1), None]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_shut_gate_refuses_without_asking_and_settles_nothing(streaming: bool) -> None:
    provider = ScriptedProvider()
    gate = Gate(7.0)
    limited = Limited(provider, gate, ManualClock())
    with pytest.raises(ProviderLimitReached) as caught:
        await (collect(limited.stream(request_for(REF))) if streaming else limited.complete(request_for(REF)))
    assert isinstance(caught.value, ProviderRateLimited)
    assert (caught.value.code, caught.value.retry_after) == ("provider_rate_limited", 7.0)
    assert provider.requests == []
    assert gate.settled == []


def chain_of(gate: Gate, provider: ScriptedProvider) -> tuple[FallbackChain, Breaking]:
    clock = ManualClock()
    guard = Breaking(Limited(provider, gate, clock), failures=1, cooldown=5.0, clock=clock)
    retrying = Retrying(
        guard, max_attempts=3, budget=RetryBudget(1.0), clock=clock, entropy=random.Random(7), sleep=asyncio.sleep
    )
    return FallbackChain({"one": retrying, "two": ScriptedProvider(name="two")}, clock), guard


async def test_the_chain_goes_on_at_once_and_the_breaker_does_not_count_it() -> None:
    gate, provider = Gate(0.01, 0.01), ScriptedProvider()
    chain, guard = chain_of(gate, provider)
    reply = await chain.complete(request_for(REF, ModelRef("two", "m")))
    assert [(a.provider, a.error) for a in reply.attempts] == [("one", "provider_rate_limited"), ("two", "")]
    assert len(gate.entered) == 1, "not tried again on the same link"
    assert guard.states() == {"m": State.CLOSED}
    with pytest.raises(ChainExhausted) as caught:
        await chain.complete(request_for(REF))
    assert caught.value.retry_after == 0.01
    assert [a.error for a in attempts.of_error(caught.value)] == ["provider_rate_limited"]
    assert provider.requests == []


async def test_each_try_enters() -> None:
    gate = Gate()
    clock = ManualClock()
    retrying = Retrying(
        Limited(ScriptedProvider(ProviderOverloaded("x"), None), gate, clock),
        max_attempts=2,
        budget=RetryBudget(1.0),
        clock=clock,
        entropy=random.Random(7),
        base=1e-6,
    )
    await retrying.complete(request_for(REF))
    assert gate.settled == [None, Usage(3, 1)]


async def test_what_a_background_call_waited_is_part_of_its_time() -> None:
    clock = ManualClock()
    provider = ScriptedProvider()
    limited = Limited(provider, Gate(clock=clock, patience=12.0), clock)
    request = Completion(call_id="c", messages=(), ref=REF, total_timeout=30.0, background=True)
    await limited.complete(request)
    assert provider.requests[0].total_timeout == 18.0


class Shut(Gate):
    async def enter(self, request: Completion, background: bool) -> float:
        await asyncio.Event().wait()
        raise AssertionError("never")


async def test_waiting_ends_with_the_time_of_the_call() -> None:
    request = Completion(call_id="c", messages=(), ref=REF, total_timeout=0.01, background=True)
    with pytest.raises(ProviderLimitReached):
        await Limited(ScriptedProvider(), Shut(), ManualClock()).complete(request)


async def test_a_stream_that_is_left_keeps_its_estimate_as_nobody_knows_what_it_used() -> None:
    gate, provider = Gate(), ScriptedProvider()
    stream = Limited(provider, gate, ManualClock()).stream(request_for(REF))
    await anext(stream)
    await stream.aclose()
    assert (gate.settled, provider.streams_closed) == ([], 1)
