import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.cache.coalesce import Coalescer
from gateway.errors import Overloaded, ProviderTimeout


class Upstream:
    """Answers when told to; counts how often it is asked and how often it is cancelled."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.gate = asyncio.Event()

    async def __call__(self) -> str:
        self.calls += 1
        number = self.calls
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return f"answer {number}"


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


async def spread() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_call_for_all_that_ask_meanwhile() -> None:
    coalescer, upstream = Coalescer(), Upstream()
    asking = [asyncio.create_task(coalescer.join("k", upstream)) for _ in range(1000)]
    await until(lambda: upstream.calls > 0)
    upstream.gate.set()
    answers = await asyncio.gather(*asking)
    assert upstream.calls == 1
    assert {answer for answer, _ in answers} == {"answer 1"}
    assert sum(led for _, led in answers) == 1
    assert len(coalescer) == 0


async def test_other_keys_and_later_calls_are_not_joined() -> None:
    coalescer, upstream = Coalescer(), Upstream()
    upstream.gate.set()
    both = await asyncio.gather(coalescer.join("k", upstream), coalescer.join("l", upstream))
    assert await coalescer.join("k", upstream) == ("answer 3", True)
    assert [led for _, led in both] == [True, True]


async def test_a_cancelled_leader_costs_the_others_nothing() -> None:
    coalescer, upstream = Coalescer(), Upstream()
    leader = asyncio.create_task(coalescer.join("k", upstream))
    await until(lambda: upstream.calls == 1)
    follower = asyncio.create_task(coalescer.join("k", upstream))
    await spread()
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    upstream.gate.set()
    assert await follower == ("answer 1", False)
    assert (upstream.calls, upstream.cancelled) == (1, 0)


async def test_when_everybody_has_left_the_call_is_cancelled_and_the_next_starts_anew() -> None:
    coalescer, upstream = Coalescer(), Upstream()
    asking = [asyncio.create_task(coalescer.join("k", upstream)) for _ in range(3)]
    await until(lambda: upstream.calls == 1)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    late = asyncio.create_task(coalescer.join("k", upstream))
    await until(lambda: upstream.calls == 2 and upstream.cancelled == 1)
    upstream.gate.set()
    assert await late == ("answer 2", True)
    assert len(coalescer) == 0


async def test_an_error_is_shared_and_not_remembered() -> None:
    coalescer, upstream = Coalescer(), Upstream()

    async def fail() -> str:
        await upstream()
        raise ProviderTimeout("too slow")

    asking = [asyncio.create_task(coalescer.join("k", fail)) for _ in range(5)]
    await until(lambda: upstream.calls == 1)
    upstream.gate.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(outcome, ProviderTimeout) for outcome in outcomes)
    assert upstream.calls == 1
    assert await coalescer.join("k", upstream) == ("answer 2", True)


async def test_a_call_that_cancels_itself_is_an_error_not_a_cancellation_of_those_who_wait() -> None:
    async def give_up() -> str:
        raise asyncio.CancelledError

    with pytest.raises(Overloaded):
        await Coalescer().join("k", give_up)


async def test_beyond_the_bound_calls_go_alone_and_all_are_answered() -> None:
    coalescer, upstream = Coalescer(max_keys=2), Upstream()
    asking = [asyncio.create_task(coalescer.join(key, upstream)) for key in ("a", "b", "c", "c", "a")]
    await until(lambda: upstream.calls == 4)
    assert len(coalescer) == 2
    upstream.gate.set()
    answers = await asyncio.gather(*asking)
    assert [led for _, led in answers] == [True, True, True, True, False]


@pytest.mark.parametrize("leave", [0, 1], ids=["the leader leaves", "a follower leaves"])
async def test_an_answer_that_nobody_waited_for_leaves_nothing_behind(leave: int) -> None:
    coalescer, upstream = Coalescer(), Upstream()
    produce: Callable[[], Awaitable[str]] = upstream
    asking = [asyncio.create_task(coalescer.join("k", produce)) for _ in range(2)]
    await until(lambda: upstream.calls == 1)
    asking[leave].cancel()
    await asyncio.gather(asking[leave], return_exceptions=True)
    upstream.gate.set()
    assert (await asking[1 - leave])[0] == "answer 1"
    assert len(coalescer) == 0
