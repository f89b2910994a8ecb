import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import ManualClock
from gateway.errors import (
    BreakerOpen,
    ChainExhausted,
    ProviderError,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRejectedKey,
    ProviderRejectedRequest,
    ProviderTimeout,
    StreamInterrupted,
)
from gateway.providers import attempts
from gateway.providers.fallback import FallbackChain, time_for_link
from gateway.providers.unsent import ProviderLacksFeature
from gateway.types import Delta, ModelRef
from tests.gateway.providers.fakes import ScriptedProvider, collect, request_for

OUTCOMES: dict[str, ProviderError | None] = {
    "answers": None,
    "times out": ProviderTimeout("x"),
    "overloaded": ProviderOverloaded("x"),
    "wrong key": ProviderRejectedKey("x"),
    "breaker": BreakerOpen("x"),
    "cannot": ProviderLacksFeature("x"),
    "wrong request": ProviderRejectedRequest("x"),
}


@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(OUTCOMES)), max_size=6), st.booleans())
async def test_whatever_the_links_do_each_is_asked_once_in_order_until_one_decides(
    outcomes: list[str], streaming: bool
) -> None:
    refs = [ModelRef(f"p{number}", "m") for number in range(len(outcomes))]
    providers = {
        ref.provider: ScriptedProvider(OUTCOMES[outcome], name=ref.provider)
        for ref, outcome in zip(refs, outcomes, strict=True)
    }
    chain = FallbackChain(providers, ManualClock())
    deciding = next((i for i, outcome in enumerate(outcomes) if outcome in ("answers", "wrong request")), None)
    asked = refs if deciding is None else refs[: deciding + 1]

    ended: type[ProviderError] | None = None
    try:
        request = request_for(*refs)
        reply = (await collect(chain.stream(request)))[1] if streaming else await chain.complete(request)
    except ProviderError as error:
        ended, book = type(error), attempts.of_error(error)
    else:
        assert reply is not None
        assert reply.provider == asked[-1].provider
        assert reply.fell_back == (len(asked) > 1)
        book = reply.attempts

    if deciding is None:
        assert ended is (ProviderLacksFeature if outcomes and set(outcomes) == {"cannot"} else ChainExhausted)
    else:
        assert ended is (None if outcomes[deciding] == "answers" else ProviderRejectedRequest)
    failures = [OUTCOMES[outcome] for outcome in outcomes[: len(asked)]]
    expected = [failure.code if failure else "" for failure in failures]
    assert [(a.provider, a.error) for a in book] == [
        (ref.provider, code) for ref, code in zip(asked, expected, strict=True)
    ]
    for ref in refs:
        assert [r.ref for r in providers[ref.provider].requests] == ([ref] if ref in asked else [])


async def test_a_stream_that_began_never_switches() -> None:
    first = ScriptedProvider(ProviderOverloaded("x"), cut_after=1)
    second = ScriptedProvider(None, name="two")
    chain = FallbackChain({"one": first, "two": second}, ManualClock())
    deltas: list[Delta] = []
    with pytest.raises(StreamInterrupted) as caught:
        await collect(chain.stream(request_for(ModelRef("one", "m"), ModelRef("two", "m"))), deltas)
    assert [delta.delta for delta in deltas] == [{"content": "h"}]
    assert second.requests == []
    assert [a.error for a in attempts.of_error(caught.value)] == ["provider_overloaded"]


async def test_a_stream_that_failed_before_its_first_delta_switches() -> None:
    chain = FallbackChain(
        {"one": ScriptedProvider(ProviderOverloaded("x")), "two": ScriptedProvider(None, name="two")}, ManualClock()
    )
    text, reply = await collect(chain.stream(request_for(ModelRef("one", "m"), ModelRef("two", "m"))))
    assert text == "hi"
    assert reply is not None
    assert [(a.provider, a.error) for a in reply.attempts] == [("one", "provider_overloaded"), ("two", "")]


async def test_leaving_a_stream_early_closes_the_provider_s() -> None:
    provider = ScriptedProvider(None)
    stream = FallbackChain({"one": provider}, ManualClock()).stream(request_for(ModelRef("one", "m")))
    await anext(stream)
    await stream.aclose()
    assert provider.streams_closed == 1


@pytest.mark.parametrize(
    ("left", "is_last", "expected"), [(30.0, True, 30.0), (30.0, False, 20.0), (10.0, False, 5.0), (0.5, False, 0.25)]
)
def test_a_link_leaves_time_for_the_others(left: float, is_last: bool, expected: float) -> None:
    assert time_for_link(left, 10.0, is_last=is_last) == expected


async def test_hanging_links_leave_time_for_the_last_and_no_link_is_asked_after_the_deadline() -> None:
    clock = ManualClock()
    refs = [ModelRef(name, "m") for name in ("one", "two", "three")]
    providers = {
        ref.provider: ScriptedProvider(ProviderTimeout("x"), name=ref.provider, clock=clock, takes=takes)
        for ref, takes in zip(refs, (20.0, 10.0, 1.0), strict=True)
    }
    with pytest.raises(ChainExhausted, match=r"one/m: provider_timeout; two/m: provider_timeout\."):
        await FallbackChain(providers, clock).complete(request_for(*refs, total=30.0))
    assert [p.requests[0].total_timeout for p in providers.values() if p.requests] == [20.0, 5.0]


async def test_a_stream_may_use_all_the_time_once_it_flows() -> None:
    provider = ScriptedProvider(None)
    chain = FallbackChain({"one": provider}, ManualClock())
    await collect(chain.stream(request_for(ModelRef("one", "m"), ModelRef("one", "n"), total=12.0, first_token=10.0)))
    assert (provider.requests[0].total_timeout, provider.requests[0].first_token_timeout) == (12.0, 6.0)


async def test_an_unknown_provider_is_told_and_the_chain_goes_on() -> None:
    chain = FallbackChain({"one": ScriptedProvider(None)}, ManualClock())
    reply = await chain.complete(request_for(ModelRef("nobody", "m"), ModelRef("one", "m")))
    assert [a.error for a in reply.attempts] == ["provider_unknown_model", ""]


async def test_exhaustion_tells_the_shortest_wait() -> None:
    waits = {"one": 7.0, "two": 3.0}
    chain = FallbackChain(
        {name: ScriptedProvider(ProviderRateLimited("x", retry_after=wait)) for name, wait in waits.items()},
        ManualClock(),
    )
    with pytest.raises(ChainExhausted) as caught:
        await chain.complete(request_for(ModelRef("one", "m"), ModelRef("two", "m")))
    assert caught.value.retry_after == 3.0


async def test_closing_the_chain_closes_every_provider() -> None:
    providers = {"one": ScriptedProvider(), "two": ScriptedProvider()}
    await FallbackChain(providers, ManualClock()).aclose()
    assert all(provider.closed for provider in providers.values())


@pytest.mark.parametrize(("known_in", "asked_again"), [(0.0, True), (1.0, True), (60.0, False), (None, False)])
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_link_that_may_be_well_again_is_asked_when_no_other_answered(
    known_in: float | None, asked_again: bool, streaming: bool
) -> None:
    left_alone = BreakerOpen("x")
    left_alone.known_in = known_in
    second = ScriptedProvider(left_alone, None, name="two")
    chain = FallbackChain({"one": ScriptedProvider(ProviderOverloaded("x")), "two": second}, ManualClock())
    request = request_for(ModelRef("one", "m"), ModelRef("two", "m"))
    if not asked_again:
        with pytest.raises(ChainExhausted):
            await (collect(chain.stream(request)) if streaming else chain.complete(request))
        return
    reply = (await collect(chain.stream(request)))[1] if streaming else await chain.complete(request)
    assert reply is not None
    assert [a.error for a in reply.attempts] == ["provider_overloaded", "breaker_open", ""]
    assert [request.patient for request in second.requests] == [False, True]


async def test_only_one_link_is_asked_again_and_once() -> None:
    links = []
    for name, seconds in (("one", 1.0), ("two", 0.2)):
        error = BreakerOpen("x")
        error.known_in = seconds
        links.append(ScriptedProvider(error, name=name))
    chain = FallbackChain({link.name: link for link in links}, ManualClock())
    with pytest.raises(ChainExhausted):
        await chain.complete(request_for(ModelRef("one", "m"), ModelRef("two", "m")))
    assert [len(link.requests) for link in links] == [1, 2]  # the one that is known sooner
