"""Single flight within a process: one call for all, whoever leaves, whatever it ends with."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec import structs

from gateway.cache.coalesce import Coalescer, Left, Seat, Work
from gateway.cache.flight import Flight
from gateway.errors import Overloaded, ProviderTimeout, StreamInterrupted
from gateway.trail import Trail
from gateway.types import Call, Delta, Reply, Usage


def reply(text: str) -> Reply:
    message = {"role": "assistant", "content": text}
    return Reply(message=message, finish_reason="stop", provider="openai", model="small", usage=Usage(1, 1))


def said(text: str) -> Delta:
    return Delta(delta={"content": text})


class Upstream:
    """Answers when told to; counts how often it is asked and how often it is cancelled."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.keeping = asyncio.Event()
        self.keeping.set()

    def work(self, *, error: BaseException | None = None, aloud: bool = False, fresh: bool = False) -> Work:
        async def make(flight: Flight) -> None:
            self.calls += 1
            number = self.calls
            if aloud:
                flight.say(said("answer"))
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            if error is not None:
                raise error
            if aloud:
                flight.say(said(f" {number}"))
            flight.land(reply(f"answer {number}"))

        async def keep() -> bool:
            await self.keeping.wait()
            return True

        async def look() -> Reply | None:
            return None

        return Work(make=make, keep=keep, look=look, fresh=fresh)


def trail() -> Trail:
    return Trail(call=Call(id="call_1", tenant="acme", received_at=0.0), begun=0.0)


async def ride(coalescer: Coalescer, work: Work, key: str = "k") -> tuple[str, bool]:
    seat = coalescer.board(key, work, trail())
    try:
        return (await seat.flight.whole()).text, seat.led
    finally:
        await seat.leave()


async def listen(coalescer: Coalescer, work: Work, key: str = "k") -> list[str]:
    seat = coalescer.board(key, work, trail())
    try:
        return [piece.delta.get("content") or "" async for piece in seat.flight.aloud() if piece.reply is None]
    finally:
        await seat.leave()


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
    asking = [asyncio.create_task(ride(coalescer, upstream.work())) for _ in range(1000)]
    await until(lambda: upstream.calls > 0)
    upstream.gate.set()
    answers = await asyncio.gather(*asking)
    assert upstream.calls == 1
    assert {answer for answer, _ in answers} == {"answer 1"}
    assert sum(led for _, led in answers) == 1
    await coalescer.settle()
    assert len(coalescer) == 0


@pytest.mark.parametrize("aloud", [False, True])
async def test_an_answer_that_is_not_kept_is_nobodys_who_comes_later(aloud: bool) -> None:
    """Such as what a clock said: whoever asks when it is out asks anew, though its flight is still being tidied up."""
    coalescer, upstream = Coalescer(), Upstream()
    upstream.gate.set()
    upstream.keeping.clear()
    work = structs.replace(upstream.work(aloud=aloud), keeps=lambda: False)
    assert await ride(coalescer, work) == ("answer 1", True)
    assert len(coalescer) == 1
    assert await ride(coalescer, work) == ("answer 2", True)
    upstream.keeping.set()
    await coalescer.settle()


async def test_who_listens_hears_all_of_it_whenever_he_comes() -> None:
    coalescer, upstream = Coalescer(), Upstream()
    work = upstream.work(aloud=True)
    first = asyncio.create_task(listen(coalescer, work))
    await until(lambda: upstream.calls == 1)
    late = [asyncio.create_task(listen(coalescer, work)), asyncio.create_task(listen(coalescer, upstream.work()))]
    whole = asyncio.create_task(ride(coalescer, work))
    await spread()
    upstream.gate.set()
    assert await first == ["answer", " 1"]
    assert await asyncio.gather(*late) == [["answer", " 1"]] * 2
    assert await whole == ("answer 1", False)


async def test_who_listens_to_a_whole_answer_hears_it_in_one_piece() -> None:
    coalescer, upstream = Coalescer(), Upstream()
    leader = asyncio.create_task(ride(coalescer, upstream.work()))
    await until(lambda: upstream.calls == 1)
    listener = asyncio.create_task(listen(coalescer, upstream.work(aloud=True)))
    await spread()
    upstream.gate.set()
    assert await listener == ["answer 1"]
    await leader


async def test_other_keys_and_later_calls_are_not_joined() -> None:
    coalescer, upstream = Coalescer(), Upstream()
    upstream.gate.set()
    both = await asyncio.gather(ride(coalescer, upstream.work()), ride(coalescer, upstream.work(), "l"))
    await coalescer.settle()
    assert await ride(coalescer, upstream.work()) == ("answer 3", True)
    assert [led for _, led in both] == [True, True]


async def test_who_comes_while_an_answer_is_being_kept_gets_it_too_unless_it_must_be_fresh() -> None:
    for fresh, expected in ((False, ("answer 1", False)), (True, ("answer 2", True))):
        coalescer, upstream = Coalescer(), Upstream()
        upstream.gate.set()
        upstream.keeping.clear()
        await ride(coalescer, upstream.work(fresh=fresh))
        assert await ride(coalescer, upstream.work(fresh=fresh)) == expected
        upstream.keeping.set()
        await coalescer.settle()


async def test_a_cancelled_leader_costs_the_others_nothing() -> None:
    coalescer, upstream = Coalescer(), Upstream()
    leader = asyncio.create_task(ride(coalescer, upstream.work()))
    await until(lambda: upstream.calls == 1)
    follower = asyncio.create_task(ride(coalescer, upstream.work()))
    await spread()
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    upstream.gate.set()
    assert await follower == ("answer 1", False)
    assert (upstream.calls, upstream.cancelled) == (1, 0)


async def test_when_everybody_has_left_the_call_has_ended_and_the_next_starts_anew() -> None:
    coalescer, upstream = Coalescer(), Upstream()
    seats: list[Seat] = [coalescer.board("k", upstream.work(), trail()) for _ in range(3)]
    await until(lambda: upstream.calls == 1)
    left = [await seat.leave() for seat in seats]
    assert left == [Left.GOES_ON, Left.GOES_ON, Left.ENDED]
    assert upstream.cancelled == 1
    late = asyncio.create_task(ride(coalescer, upstream.work()))
    await until(lambda: upstream.calls == 2)
    upstream.gate.set()
    assert await late == ("answer 2", True)
    await coalescer.settle()
    assert len(coalescer) == 0


async def test_an_error_is_shared_and_not_remembered() -> None:
    coalescer, upstream = Coalescer(), Upstream()
    failing = upstream.work(error=ProviderTimeout("too slow"))
    asking = [asyncio.create_task(ride(coalescer, failing)) for _ in range(5)]
    await until(lambda: upstream.calls == 1)
    upstream.gate.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(outcome, ProviderTimeout) for outcome in outcomes)
    assert upstream.calls == 1
    assert await ride(coalescer, upstream.work()) == ("answer 2", True)


async def test_a_call_that_cancels_itself_is_an_error_not_a_cancellation_of_those_who_wait() -> None:
    upstream = Upstream()
    upstream.gate.set()
    with pytest.raises(Overloaded):
        await ride(Coalescer(), upstream.work(error=asyncio.CancelledError()))


async def test_beyond_the_bound_calls_go_alone_and_all_are_answered() -> None:
    coalescer, upstream = Coalescer(max_keys=2), Upstream()
    asking = [asyncio.create_task(ride(coalescer, upstream.work(), key)) for key in ("a", "b", "c", "c", "a")]
    await until(lambda: upstream.calls == 4)
    upstream.gate.set()
    answers = await asyncio.gather(*asking)
    assert [led for _, led in answers] == [True, True, True, True, False]


# --- a flight that is begun again by somebody else


def begun(*pieces: Delta) -> Flight:
    flight = Flight("k", trail())
    for piece in pieces:
        flight.say(piece)
    flight.begin_again()
    return flight


async def heard(flight: Flight) -> list[str]:
    return [piece.delta.get("content") or "" async for piece in flight.aloud() if piece.reply is None]


@pytest.mark.parametrize("again", [["It is 42."], ["It", " is", " 42", "."], ["It is", " 42."]])
async def test_what_was_heard_is_not_heard_again(again: list[str]) -> None:
    flight = begun(Delta(delta={"role": "assistant"}), said("It is"))
    for text in again:
        flight.say(said(text))
    flight.land(reply("It is 42."))
    assert "".join(await heard(flight)) == "It is 42."


async def test_a_reply_completes_pieces_that_were_lost() -> None:
    flight = Flight("k", trail())
    flight.say(said("It"))
    flight.land(reply("It is 42."))
    assert await heard(flight) == ["It", " is 42."]


async def test_a_second_answer_that_says_something_else_is_an_interruption() -> None:
    flight = begun(said("It is"))
    with pytest.raises(StreamInterrupted):
        flight.say(said("No."))
    flight.land(reply("No."))
    with pytest.raises(StreamInterrupted):
        await heard(flight)


async def test_tool_calls_cannot_be_held_against_a_second_answer() -> None:
    flight = Flight("k", trail())
    flight.say(Delta(delta={"tool_calls": [{"index": 0}]}))
    with pytest.raises(StreamInterrupted):
        flight.begin_again()
