import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from gateway.clock import ManualClock
from gateway.errors import BreakerOpen, ProviderOverloaded, ProviderRejectedRequest
from gateway.providers.breaker import State
from gateway.providers.breaking import PATIENCE, Breaking
from gateway.providers.unsent import ProviderLacksFeature
from gateway.types import Completion, ModelRef, Reply
from tests.gateway.providers.fakes import ScriptedProvider, collect, reply_of, request_for

REQUEST = request_for(ModelRef("one", "m"))
DOWN = ProviderOverloaded("x")


def breaking(provider: ScriptedProvider, clock: ManualClock) -> Breaking:
    return Breaking(provider, failures=3, cooldown=5.0, clock=clock)


async def fail(guard: Breaking, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ProviderOverloaded):
            await guard.complete(REQUEST)


async def test_failures_in_a_row_open_it_and_then_nobody_is_asked() -> None:
    provider = ScriptedProvider(DOWN, DOWN, None, DOWN)
    clock = ManualClock()
    guard = breaking(provider, clock)
    await fail(guard, 2)
    await guard.complete(REQUEST)  # a success in between starts the count anew
    await fail(guard, 3)
    clock.advance(2.0)
    with pytest.raises(BreakerOpen) as caught:
        await guard.complete(REQUEST)
    assert len(provider.requests) == 6
    assert caught.value.retry_after == pytest.approx(3.0)
    assert guard.states() == {"m": State.OPEN}


@pytest.mark.parametrize(("probe", "then"), [(None, State.CLOSED), (DOWN, State.OPEN)])
@pytest.mark.parametrize("streaming", [False, True])
async def test_after_the_cooldown_one_probe_decides(
    probe: ProviderOverloaded | None, then: State, streaming: bool
) -> None:
    clock = ManualClock()
    guard = breaking(ScriptedProvider(DOWN, DOWN, DOWN, probe), clock)
    await fail(guard, 3)
    clock.advance(5.0)
    assert guard.states()["m"] is State.HALF_OPEN
    attempt = collect(guard.stream(REQUEST)) if streaming else guard.complete(REQUEST)
    if probe is None:
        await attempt
    else:
        with pytest.raises(ProviderOverloaded):
            await attempt
    assert guard.states()["m"] is then


class Parked:
    """Answers when told to."""

    name = "one"

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked = 0
        self.error: ProviderOverloaded | None = DOWN

    async def complete(self, request: Completion) -> Reply:
        self.asked += 1
        if self.error:
            raise self.error
        await self.gate.wait()
        return await ScriptedProvider().complete(request)


async def half_open(parked: Parked) -> Breaking:
    clock = ManualClock()
    guard = Breaking(parked, failures=3, cooldown=5.0, clock=clock)  # type: ignore[arg-type]
    await fail(guard, 3)
    clock.advance(5.0)
    parked.error = None
    return guard


async def test_only_a_single_probe_passes_at_a_time() -> None:
    parked = Parked()
    guard = await half_open(parked)
    probe = asyncio.create_task(guard.complete(REQUEST))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):  # a second probe would be parked too
        for _ in range(5):
            with pytest.raises(BreakerOpen):
                await guard.complete(REQUEST)
    parked.gate.set()
    await probe
    assert parked.asked == 4
    assert guard.states()["m"] is State.CLOSED


async def test_a_cancelled_probe_lets_the_next_one_through() -> None:
    parked = Parked()
    guard = await half_open(parked)
    probe = asyncio.create_task(guard.complete(REQUEST))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert guard.states()["m"] is State.HALF_OPEN
    parked.gate.set()
    await guard.complete(REQUEST)
    assert guard.states()["m"] is State.CLOSED


@pytest.mark.parametrize(
    ("error", "then"), [(ProviderRejectedRequest("x"), State.CLOSED), (ProviderLacksFeature("x"), State.HALF_OPEN)]
)
async def test_a_refused_request_proves_that_the_provider_is_up_and_one_never_sent_proves_nothing(
    error: ProviderRejectedRequest | ProviderLacksFeature, then: State
) -> None:
    clock = ManualClock()
    guard = breaking(ScriptedProvider(DOWN, DOWN, DOWN, error), clock)
    await fail(guard, 3)
    clock.advance(5.0)
    with pytest.raises(type(error)):
        await guard.complete(REQUEST)
    assert guard.states()["m"] is then


async def test_models_have_breakers_of_their_own_and_their_number_is_bounded() -> None:
    guard = breaking(ScriptedProvider(DOWN, DOWN, DOWN, None), ManualClock())
    await fail(guard, 3)
    await guard.complete(request_for(ModelRef("one", "other")))
    assert guard.states() == {"m": State.OPEN, "other": State.CLOSED}
    for number in range(1100):
        await guard.complete(request_for(ModelRef("one", f"m{number}")))
    assert len(guard.states()) == 1024


@pytest.mark.parametrize("turns_out", [None, DOWN])
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_patient_call_waits_for_the_probe_and_follows_it(
    turns_out: ProviderOverloaded | None, streaming: bool
) -> None:
    clock = ManualClock()
    provider = Slow(clock, [DOWN, DOWN, DOWN, turns_out, None])
    guard = Breaking(provider, failures=3, cooldown=5.0, clock=clock, sleep=passing(clock))
    await fail(guard, 3)
    clock.advance(5.0)
    probe = asyncio.create_task(guard.complete(REQUEST))
    await asyncio.sleep(0)
    patient = replace(REQUEST, patient=True)
    call = asyncio.ensure_future(collect(guard.stream(patient)) if streaming else guard.complete(patient))
    outcomes = await asyncio.gather(probe, call, return_exceptions=True)
    if turns_out is None:
        assert not any(isinstance(outcome, BaseException) for outcome in outcomes)
        assert provider.requests[-1].total_timeout == pytest.approx(30.0 - Slow.SECONDS, abs=0.05)  # it has waited
    else:
        assert [type(outcome) for outcome in outcomes] == [ProviderOverloaded, BreakerOpen]
    assert len(provider.requests) == (5 if turns_out is None else 4)


@pytest.mark.parametrize(("left", "answers"), [(1.0, True), (2.0, False)])
async def test_a_patient_call_waits_for_a_cooldown_that_is_almost_over(left: float, answers: bool) -> None:
    clock = ManualClock()
    guard = Breaking(
        ScriptedProvider(DOWN, DOWN, DOWN, None), failures=3, cooldown=5.0, clock=clock, sleep=passing(clock)
    )
    await fail(guard, 3)
    clock.advance(5.0 - left)
    before = clock.monotonic()
    if answers:
        await guard.complete(replace(REQUEST, patient=True))
    else:
        with pytest.raises(BreakerOpen):
            await guard.complete(replace(REQUEST, patient=True))
    assert clock.monotonic() - before == pytest.approx(left if answers else 0.0)


async def test_patience_is_bounded() -> None:
    clock = ManualClock()
    parked = Parked()
    guard = Breaking(parked, failures=3, cooldown=5.0, clock=clock, sleep=passing(clock))  # type: ignore[arg-type]
    await fail(guard, 3)
    clock.advance(5.0)
    parked.error = None
    probe = asyncio.create_task(guard.complete(REQUEST))
    await asyncio.sleep(0)
    before = clock.monotonic()
    with pytest.raises(BreakerOpen):
        await guard.complete(replace(REQUEST, patient=True))
    assert clock.monotonic() - before == pytest.approx(PATIENCE, abs=0.05)
    probe.cancel()


class Slow(ScriptedProvider):
    """Takes time, which passes while others wait."""

    SECONDS = 0.5

    def __init__(self, clock: ManualClock, steps: list[ProviderOverloaded | None]) -> None:
        super().__init__(*steps)
        self._now = clock

    async def complete(self, request: Completion) -> Reply:
        error = self._step(request)
        until = self._now.monotonic() + (self.SECONDS if len(self.requests) == 4 else 0)
        for _ in range(1000):
            if self._now.monotonic() >= until:
                break
            await asyncio.sleep(0)
        if error:
            raise error
        return reply_of(request.ref)


def passing(clock: ManualClock) -> Callable[[float], Awaitable[None]]:
    async def sleep(seconds: float) -> None:
        clock.advance(seconds)
        await asyncio.sleep(0)

    return sleep


async def test_mirrored_requests_neither_open_a_breaker_nor_close_or_probe_it() -> None:
    clock = ManualClock()
    provider = ScriptedProvider(DOWN)
    guard = breaking(provider, clock)
    for _ in range(5):
        with pytest.raises(ProviderOverloaded):
            await guard.complete(replace(REQUEST, unheard=True))
    assert guard.states() == {"m": State.CLOSED}
    await fail(guard, 3)
    clock.advance(5.0)
    assert guard.states() == {"m": State.HALF_OPEN}
    with pytest.raises(BreakerOpen):
        await guard.complete(replace(REQUEST, unheard=True))
    assert (guard.states(), len(provider.requests)) == ({"m": State.HALF_OPEN}, 8)
