"""One answer a key: replays, conflicts, waiting, takeover; on one worker and on two."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, event

from gateway.clock import ManualClock
from gateway.errors import IdempotencyBusy, IdempotencyConflict, InvalidRequest, Overloaded
from gateway.idempotency.claims import Claim, Replay
from tests.gateway.idempotency.workers import BODY, OTHER_BODY, Naps, Worker, count, row, until


async def test_a_replay_has_the_answer_and_the_id_of_the_first_call(one: Worker, two: Worker) -> None:
    claim = await one.claim()
    assert await one.finish(claim, b"answer") == b"answer"
    for worker in (one, two):
        assert await worker.begin() == Replay(claim.call_id, b"answer")


async def test_another_tenant_with_the_same_key_is_independent(one: Worker, engine: Engine) -> None:
    await one.finish(await one.claim(tenant="acme"), b"acme")
    other = await one.claim(tenant="other", body=OTHER_BODY)
    await one.finish(other, b"other")
    assert await one.replay(tenant="acme") == b"acme"
    assert await one.replay(tenant="other", body=OTHER_BODY) == b"other"
    assert count(engine) == 2


async def test_another_body_is_a_conflict_under_way_and_afterwards(one: Worker, two: Worker) -> None:
    claim = await one.claim()
    for worker in (one, two):
        with pytest.raises(IdempotencyConflict):
            await worker.begin(body=OTHER_BODY)
    await one.finish(claim)
    for worker in (one, two):
        with pytest.raises(IdempotencyConflict):
            await worker.begin(body=OTHER_BODY)


async def test_another_body_is_refused_at_once_while_calls_wait_for_another_worker(one: Worker, two: Worker) -> None:
    claim = await two.claim()
    waiting = asyncio.create_task(one.replay())
    await until(lambda: one.idempotency.waiting)
    with pytest.raises(IdempotencyConflict):
        await one.begin(body=OTHER_BODY)
    await two.finish(claim)
    assert await waiting == b"answer"


async def test_two_bodies_at_once_are_never_answered_with_each_others_answer(one: Worker) -> None:
    async def call(body: str) -> bytes:
        granted = await one.begin(body=body)
        return granted.outcome if isinstance(granted, Replay) else await one.finish(granted, body.encode())

    answers = await asyncio.gather(*(call(body) for body in (BODY, OTHER_BODY, BODY)), return_exceptions=True)
    assert answers[0] == answers[2] == BODY.encode()
    assert isinstance(answers[1], IdempotencyConflict)


async def test_a_body_that_waited_behind_another_goes_on_when_that_one_leaves(
    engine: Engine, clock: ManualClock, two: Worker
) -> None:
    naps = Naps(clock)
    one = Worker(engine, clock, "one", sleep=naps)
    claim = await two.claim()
    first, second = asyncio.create_task(one.begin()), asyncio.create_task(one.claim(body=OTHER_BODY))
    await naps.begun()  # the first one waits for the other worker, the second one for the first
    await two.release(claim)
    first.cancel()
    assert not (await second).inherited


async def test_who_waits_in_one_process_asks_sql_once_for_all(
    database_url: str, open_engine: Callable[..., Engine], clock: ManualClock, two: Worker
) -> None:
    naps, engine, asked = Naps(clock), open_engine(database_url), Counter[str]()
    event.listen(engine, "checkout", lambda *_: asked.update(["sql"]))
    one = Worker(engine, clock, "one", sleep=naps)
    claim = await two.claim()
    waiting = [asyncio.create_task(one.replay()) for _ in range(10)]
    await until(lambda: one.idempotency.waiting == 10)
    await two.finish(claim)
    await naps.pass_one()
    assert await asyncio.gather(*waiting) == [b"answer"] * 10
    assert asked["sql"] == 3  # may I, is it still under way, what is the answer


async def test_after_a_failure_the_next_call_is_made_anew_whatever_its_body(one: Worker, engine: Engine) -> None:
    failed = await one.claim()
    await one.release(failed)
    assert row(engine) is None
    anew = await one.claim(body=OTHER_BODY)
    assert anew.call_id != failed.call_id
    assert not anew.inherited


async def test_release_after_finish_does_nothing(one: Worker) -> None:
    claim = await one.claim()
    await one.finish(claim)
    await one.release(claim)
    assert await one.replay() == b"answer"


async def test_of_twenty_at_once_one_works_and_the_others_get_its_answer(one: Worker, two: Worker) -> None:
    made: list[str] = []

    async def call(worker: Worker) -> bytes:
        granted = await worker.begin()
        if isinstance(granted, Replay):
            return granted.outcome
        made.append(granted.call_id)
        await until(lambda: one.idempotency.waiting + two.idempotency.waiting == 19)
        return await worker.finish(granted, f"answer of {granted.call_id}".encode())

    answers = await asyncio.gather(*(call(worker) for worker in [one, two] * 10))
    assert len(made) == 1
    assert set(answers) == {f"answer of {made[0]}".encode()}
    assert one.idempotency.waiting == two.idempotency.waiting == 0


async def test_when_the_first_fails_exactly_one_of_those_who_wait_takes_its_place(one: Worker, two: Worker) -> None:
    outcomes: Counter[str] = Counter()

    async def call(worker: Worker) -> None:
        granted = await worker.begin()
        if isinstance(granted, Replay):
            outcomes["replayed"] += 1
        elif outcomes["failed"] < 3:
            outcomes["failed"] += 1
            await worker.release(granted)
        else:
            outcomes["made"] += 1
            await worker.finish(granted)

    await asyncio.gather(*(call(worker) for worker in [one, two] * 5))
    assert outcomes == {"failed": 3, "made": 1, "replayed": 6}


async def test_a_dead_workers_call_is_made_under_its_id(one: Worker, two: Worker, clock: ManualClock) -> None:
    dead = await one.claim()  # and nothing is heard of it any more
    waiting = asyncio.create_task(two.claim())
    await until(lambda: two.idempotency.waiting)
    clock.advance(31)
    heir = await waiting
    assert (heir.call_id, heir.inherited) == (dead.call_id, True)
    await two.finish(heir, b"second")
    assert await two.replay() == b"second"


async def test_a_worker_that_was_slow_answers_what_the_other_one_has_answered(
    one: Worker, two: Worker, clock: ManualClock
) -> None:
    slow = await one.claim()
    clock.advance(31)
    await two.finish(await two.claim(), b"second")
    assert await one.finish(slow, b"first") == b"second"
    assert await one.replay() == await two.replay() == b"second"


async def test_waiting_ends(engine: Engine, clock: ManualClock, two: Worker) -> None:
    one = Worker(engine, clock, "one", wait=0.03)
    for holder in (one, two):
        claim = await holder.claim(key=holder.name)
        with pytest.raises(IdempotencyBusy) as busy:
            await one.begin(key=holder.name)
        assert busy.value.status == 409
        assert busy.value.retryable
        assert busy.value.retry_after
        await holder.finish(claim)
        assert await one.replay(key=holder.name) == b"answer"


@pytest.mark.parametrize("holder", ["one", "two"])
async def test_only_so_many_may_wait(engine: Engine, clock: ManualClock, two: Worker, holder: str) -> None:
    one = Worker(engine, clock, "one", max_waiting=1)
    held_by = {"one": one, "two": two}[holder]
    claim = await held_by.claim()
    waiting = asyncio.create_task(one.replay())
    await until(lambda: one.idempotency.waiting)
    with pytest.raises(Overloaded):
        await one.begin()
    await held_by.finish(claim)
    assert await waiting == b"answer"


async def test_an_answer_that_is_too_large_leaves_and_uses_its_key_up(engine: Engine, clock: ManualClock) -> None:
    one = Worker(engine, clock, "one", max_outcome_bytes=5)
    assert await one.finish(await one.claim(), b"123456") == b"123456"
    with pytest.raises(IdempotencyConflict, match="cannot be given again"):
        await one.begin()
    assert await one.finish(await one.claim(key="b"), b"12345") == b"12345"
    assert await one.replay(key="b") == b"12345"


async def test_a_key_that_is_none_is_refused(one: Worker, engine: Engine) -> None:
    with pytest.raises(InvalidRequest):
        await one.begin(key="")
    assert count(engine) == 0


async def test_a_key_is_forgotten_after_its_retention(one: Worker, clock: ManualClock) -> None:
    first = await one.claim()
    await one.finish(first, b"old")
    clock.advance(86_399)
    assert await one.replay() == b"old"
    clock.advance(1)
    assert (await one.claim(body=OTHER_BODY)).call_id != first.call_id


async def test_a_lease_is_renewed_while_its_call_runs(engine: Engine, clock: ManualClock, two: Worker) -> None:
    naps = Naps(clock)
    one = Worker(engine, clock, "one", sleep=naps)
    claim = await one.claim()
    for _ in range(12):  # four times the lease
        await naps.pass_one()
    await until(lambda: _lease_left(engine, clock) >= 10)
    await one.finish(claim)
    assert await two.replay() == b"answer"


async def test_a_forgotten_claim_is_let_go(engine: Engine, clock: ManualClock) -> None:
    naps = Naps(clock)
    one = Worker(engine, clock, "one", sleep=naps, longest_hold=20)
    forgotten = await one.claim()
    await naps.pass_one()
    await naps.pass_one()
    clock.advance(60)
    heir = await one.claim()
    assert heir.call_id == forgotten.call_id
    assert await one.finish(forgotten, b"late") == b"late"
    assert await one.finish(heir, b"heir") == b"late"  # the first that is stored is everybody's
    assert await one.replay() == b"late"


def _lease_left(engine: Engine, clock: ManualClock) -> float:
    kept = row(engine)
    assert kept is not None
    assert kept.fingerprint == BODY
    return kept.lease_until - clock.now()


async def test_nothing_is_left_in_memory(one: Worker) -> None:
    await one.finish(await one.claim())
    failed = await one.claim(key="b")
    assert isinstance(failed, Claim)
    await one.release(failed)
    await one.replay()
    await until(lambda: len(one.idempotency._lanes) == 0)
    assert one.idempotency.unstored == 0
