"""Turns are claimed, written once, bounded and forgotten; on SQLite and PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.conversations import store
from gateway.conversations.store import LEASE, Claim, Place
from gateway.errors import ConversationBusy, UnknownConversation
from gateway.types import Message

HERE = Place("acme", "conv_1")
NOW = 1_700_000_000.0


def begin(engine: Engine, call: str = "call_1", *, new: bool = True, now: float = NOW, **more: Any) -> Any:
    bounds = {"turns_at_most": 20, "chars_at_most": 10_000} | more
    place = bounds.pop("place", HERE)
    return store.begin(engine, place, new=new, prompt="help", call_id=call, now=now, **bounds)


def turn(number: int) -> tuple[Message, ...]:
    return {"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": f"a{number}"}


def written(engine: Engine, count: int) -> None:
    for number in range(1, count + 1):
        claim, _ = begin(engine, f"call_{number}", now=NOW + number)
        assert store.finish(engine, claim, turn(number), NOW + number)


def turns(engine: Engine, **more: Any) -> list[int]:
    return [one.turn for one in store.read(engine, HERE, **({"before": None, "limit": 100} | more))]


def test_turns_follow_each_other_and_the_model_sees_what_was_before(engine: Engine) -> None:
    written(engine, 3)
    claim, before = begin(engine, "call_4", new=False)
    assert claim == Claim(HERE, 4, "call_4")
    assert [tuple(one) for one in before] == [turn(1), turn(2), turn(3)]
    assert [tuple(one.messages) for one in store.read(engine, HERE, before=None, limit=9)] == [
        turn(1), turn(2), turn(3),
    ]  # fmt: skip


def test_what_the_model_sees_is_bounded(engine: Engine) -> None:
    written(engine, 4)
    _, before = begin(engine, "call_5", turns_at_most=2)
    assert [tuple(one) for one in before] == [turn(3), turn(4)]


def test_a_conversation_that_is_not_there_or_anothers_is_unknown(engine: Engine) -> None:
    written(engine, 1)
    for place in (Place("acme", "conv_2"), Place("other", "conv_1")):
        with pytest.raises(UnknownConversation):
            begin(engine, new=False, place=place)
        with pytest.raises(UnknownConversation):
            store.read(engine, place, before=None, limit=1)
        with pytest.raises(UnknownConversation):
            store.forget(engine, place)
    assert turns(engine) == [1]


def test_two_turns_at_once_make_one_conflict(engine: Engine) -> None:
    written(engine, 1)

    def attempt(number: int) -> str:
        try:
            begin(engine, f"call_of_{number}", new=False)
        except ConversationBusy:
            return "busy"
        return "claimed"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == ["busy", "busy", "busy", "claimed"]


def test_a_released_claim_leaves_nothing(engine: Engine) -> None:
    written(engine, 1)
    claim, _ = begin(engine, "call_2")
    store.release(engine, claim)
    assert begin(engine, "call_3", new=False)[0].seq == 2
    store.release(engine, Claim(HERE, 1, "call_1"))  # written: no claim any more
    assert turns(engine) == [1]


def test_the_claim_of_a_dead_call_is_taken_over_after_its_lease(engine: Engine) -> None:
    dead, _ = begin(engine, "call_1")
    with pytest.raises(ConversationBusy):
        begin(engine, "call_2", new=False, now=NOW + LEASE - 1)
    assert begin(engine, "call_1", new=False)[0] == dead  # the same call again, such as one that was taken over
    late, _ = begin(engine, "call_2", new=False, now=NOW + LEASE)
    assert late.seq == dead.seq
    assert not store.finish(engine, dead, turn(1), NOW)
    store.release(engine, dead)
    assert store.finish(engine, late, turn(2), NOW)
    assert not store.finish(engine, late, turn(3), NOW)  # written once
    assert [tuple(one.messages) for one in store.read(engine, HERE, before=None, limit=9)] == [turn(2)]


def test_a_slow_call_whose_place_nobody_took_still_writes(engine: Engine) -> None:
    claim, _ = begin(engine, "call_1")
    assert store.finish(engine, claim, turn(1), NOW + 10 * LEASE)


def test_reading_page_by_page(engine: Engine) -> None:
    written(engine, 5)
    begin(engine, "call_6")
    assert turns(engine, limit=2) == [4, 5]
    assert turns(engine, limit=2, before=4) == [2, 3]
    assert turns(engine, before=1) == []


def test_forgetting_takes_the_turn_under_way_too(engine: Engine) -> None:
    written(engine, 2)
    claim, _ = begin(engine, "call_3")
    store.forget(engine, HERE)
    assert not store.finish(engine, claim, turn(3), NOW)
    with pytest.raises(UnknownConversation):
        turns(engine)


def test_purging_goes_on_batch_by_batch(engine: Engine) -> None:
    written(engine, 5)
    assert store.purge(engine, NOW + 5, batch=2) == 4
    assert turns(engine) == [5]


def test_purging_takes_what_is_older(engine: Engine) -> None:
    written(engine, 3)
    assert store.count_old(engine, NOW + 2) == 1
    assert store.purge(engine, NOW + 2) == 1
    assert turns(engine) == [2, 3]
    assert begin(engine, "call_4")[0].seq == 4  # numbers go on
