import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.clock import ManualClock
from gateway.errors import (
    ProviderError,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRejectedKey,
    ProviderRejectedRequest,
    ProviderTimeout,
)
from gateway.providers import attempts
from gateway.providers.retry import RetryBudget, Retrying
from tests.gateway.providers.fakes import ScriptedProvider, collect, request_for


class Rig:
    """A Retrying before a scripted provider; waiting moves the clock."""

    def __init__(
        self,
        *steps: ProviderError | None,
        takes: float = 0.0,
        cut_after: int = 0,
        ratio: float = 1.0,
        max_attempts: int = 3,
        seed: int = 7,
    ) -> None:
        self.clock = ManualClock()
        self.waits: list[float] = []
        self.provider = ScriptedProvider(*steps, clock=self.clock, takes=takes, cut_after=cut_after)
        self.retrying = Retrying(
            self.provider,
            max_attempts=max_attempts,
            budget=RetryBudget(ratio),
            clock=self.clock,
            entropy=random.Random(seed),
            base=0.1,
            cap=2.0,
            sleep=self.wait,
        )

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)


@pytest.mark.parametrize(
    ("steps", "tries", "answered"),
    [
        ([None], 1, True),
        ([ProviderOverloaded("x"), None], 2, True),
        ([ProviderTimeout("x"), ProviderOverloaded("x"), None], 3, True),
        ([ProviderOverloaded("x")], 3, False),
        ([ProviderRejectedKey("x")], 1, False),
        ([ProviderRejectedRequest("x")], 1, False),
        ([ProviderOverloaded("x"), ProviderRejectedKey("x")], 2, False),
        ([ProviderRateLimited("x", retry_after=3.0), None], 2, True),
        ([ProviderRateLimited("x", retry_after=20.0), None], 1, False),  # more than half of the 30 s
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
async def test_only_errors_that_say_so_are_retried_and_boundedly(
    steps: list[ProviderError | None], tries: int, answered: bool, streaming: bool
) -> None:
    rig = Rig(*steps)
    request = request_for()
    if answered:
        reply = (await collect(rig.retrying.stream(request)))[1] if streaming else await rig.retrying.complete(request)
        assert reply is not None
        book = reply.attempts
    else:
        with pytest.raises(ProviderError) as caught:
            await (collect(rig.retrying.stream(request)) if streaming else rig.retrying.complete(request))
        book = attempts.of_error(caught.value)
    assert len(rig.provider.requests) == len(book) == tries
    told = [steps[min(number, len(steps) - 1)] for number in range(tries)]
    assert [attempt.error for attempt in book] == [step.code if step else "" for step in told]


async def test_retry_after_is_never_undercut_and_waits_are_jittered_and_capped() -> None:
    rig = Rig(ProviderRateLimited("x", retry_after=4.0), ProviderOverloaded("x"), None)
    await rig.retrying.complete(request_for())
    assert 4.0 <= rig.waits[0] <= 4.1
    assert 0 <= rig.waits[1] <= 0.2


async def test_tries_share_the_time_of_the_request() -> None:
    rig = Rig(ProviderTimeout("x"), takes=20.0)
    with pytest.raises(ProviderTimeout):
        await rig.retrying.complete(request_for(total=30.0))
    assert [round(r.total_timeout) for r in rig.provider.requests] == [30, 10]  # nothing is left for a third


async def test_a_stream_that_began_is_not_tried_again() -> None:
    rig = Rig(ProviderOverloaded("x"), cut_after=1)
    with pytest.raises(ProviderOverloaded):
        await collect(rig.retrying.stream(request_for()))
    assert len(rig.provider.requests) == rig.provider.streams_closed == 1


async def test_a_link_must_begin_to_stream_within_one_first_token_timeout_however_often_it_is_tried() -> None:
    rig = Rig(ProviderTimeout("x"), takes=10.0)
    with pytest.raises(ProviderTimeout):
        await collect(rig.retrying.stream(request_for(total=30.0, first_token=10.0)))
    assert len(rig.provider.requests) == 1


async def test_a_closed_stream_closes_the_provider_s() -> None:
    rig = Rig(None)
    stream = rig.retrying.stream(request_for())
    await anext(stream)
    await stream.aclose()
    assert rig.provider.streams_closed == 1


async def test_without_a_budget_nothing_is_retried() -> None:
    rig = Rig(ProviderOverloaded("x"), None, ratio=0.0)
    with pytest.raises(ProviderOverloaded):
        await rig.retrying.complete(request_for())


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=400), st.floats(0.01, 1.0))
def test_retries_stay_under_the_reserve_and_the_share_of_calls(is_call: list[bool], ratio: float) -> None:
    budget = RetryBudget(ratio)
    calls = retries = 0
    for call in is_call:
        if call:
            calls += 1
            budget.deposit()
        elif budget.withdraw():
            retries += 1
        assert retries <= 10 + ratio * calls + 1e-6
    assert retries >= min(10, is_call.count(False))


async def test_pauses_grow_with_full_jitter_up_to_the_cap() -> None:
    pauses: list[list[float]] = [[] for _ in range(7)]
    for seed in range(40):
        rig = Rig(*[ProviderOverloaded("x")] * 7, None, max_attempts=8, seed=seed)
        await rig.retrying.complete(request_for(total=1e6))
        for number, pause in enumerate(rig.waits):
            pauses[number].append(pause)
    for number, drawn in enumerate(pauses):
        bound = min(2.0, 0.1 * 2**number)
        assert all(0 <= pause <= bound for pause in drawn)
        assert min(drawn) < bound / 4
        assert max(drawn) > bound * 3 / 4


@pytest.mark.parametrize("streaming", [False, True])
async def test_in_an_outage_all_calls_together_retry_no_more_than_the_budget(streaming: bool) -> None:
    rig = Rig(ProviderOverloaded("x"), ratio=0.2)
    for _ in range(100):
        with pytest.raises(ProviderOverloaded):
            await (collect(rig.retrying.stream(request_for())) if streaming else rig.retrying.complete(request_for()))
    retries = len(rig.provider.requests) - 100
    assert 10 < retries <= 10 + 0.2 * 100


async def test_retry_after_that_leaves_no_time_is_told_to_the_caller() -> None:
    rig = Rig(ProviderRateLimited("x", retry_after=20.0))
    with pytest.raises(ProviderRateLimited) as caught:
        await rig.retrying.complete(request_for(total=30.0))
    assert (caught.value.retry_after, rig.waits) == (20.0, [])


async def test_mirrored_requests_are_tried_once_and_leave_the_budget_alone() -> None:
    rig = Rig(ProviderOverloaded("x"), ProviderOverloaded("x"), None)
    with pytest.raises(ProviderOverloaded) as caught:
        await rig.retrying.complete(replace(request_for(), unheard=True))
    assert (len(rig.provider.requests), len(attempts.of_error(caught.value)), rig.waits) == (1, 1, [])
