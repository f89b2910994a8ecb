"""Runs that take jobs, are killed, come too late, and meet; on both databases."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.jobs import running, store
from gateway.jobs.rules import ItemState
from gateway.jobs.running import LeaseLost, Outcome
from gateway.storage.models import JobRow
from tests.gateway.jobs.conftest import Accept

DONE = Outcome(state=ItemState.DONE, call_id="call_1", output={"text": "yes"}, cost_usd=Decimal("0.0125"))
FAILED = Outcome(state=ItemState.FAILED, call_id="call_2", error="invalid_request", message="no")
LATER = Outcome(state=ItemState.WAITING, error="provider_timeout", message="too slow")


def take(engine: Engine, clock: ManualClock, owner: str = "run") -> JobRow:
    job = running.claim(engine, clock, owner, 60, flow_run=f"flow of {owner}")
    assert job is not None
    return job


def test_of_many_runs_one_gets_the_job(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    accept()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: running.claim(engine, clock, f"run {n}", 60, most_runs=9), range(8)))
    (job,) = [one for one in found if one is not None]
    assert (job.state, job.started_at, job.lease_until) == ("running", clock.now(), clock.now() + 60)
    assert job.flow_run == ""


def test_a_killed_runs_job_goes_on_after_its_lease(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    job, first = accept(), take(engine, clock, "killed")
    began = clock.now()
    item = running.waiting_items(engine, job.id, 9)[0]
    assert running.finish_item(engine, item, "killed", DONE) == "running"
    clock.advance(59)
    assert running.claim(engine, clock, "next", 60) is None
    clock.advance(1)
    second = take(engine, clock, "next")
    assert (second.id, second.done, second.started_at) == (first.id, 1, began)
    assert [one.seq for one in running.waiting_items(engine, job.id, 9)] == [1, 2]
    with pytest.raises(LeaseLost):  # it was not dead but slow
        running.finish_item(engine, running.waiting_items(engine, job.id, 1)[0], "killed", DONE)
    with pytest.raises(LeaseLost):
        running.renew(engine, job.id, "killed", clock.now() + 60)
    with pytest.raises(LeaseLost):
        running.give_back(engine, clock, job.id, "killed")
    with pytest.raises(LeaseLost):
        running.note(engine, job.id, "killed", {})
    with pytest.raises(LeaseLost):
        running.set_items(engine, job.id, "killed", [{}])
    known = store.get(engine, "acme", job.id)
    assert (known.done, known.total, known.lease_owner) == (1, 3, "next")


def test_an_item_is_finished_once(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    accept()
    job = take(engine, clock)
    item = running.waiting_items(engine, job.id, 1)[0]
    running.finish_item(engine, item, "run", DONE)
    for outcome in (DONE, FAILED, LATER):
        with pytest.raises(LeaseLost):
            running.finish_item(engine, item, "run", outcome)
    known = store.get(engine, "acme", job.id)
    assert (known.done, known.failed, known.cost_usd) == (1, 0, Decimal("0.0125"))
    kept = store.items(engine, "acme", job.id)[0]
    assert (kept.state, kept.call_id, kept.output, kept.cost_usd) == ("done", "call_1", {"text": "yes"}, DONE.cost_usd)


def test_counts_and_costs_add_up(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    accept(items=4)
    job = take(engine, clock)
    items = running.waiting_items(engine, job.id, 9)
    for item, outcome in zip(items, (DONE, FAILED, DONE, FAILED), strict=True):
        running.finish_item(engine, item, "run", outcome)
    ended = running.give_back(engine, clock, job.id, "run")
    assert (ended.state, ended.done, ended.failed, ended.cost_usd) == ("succeeded", 2, 2, Decimal("0.0250"))
    assert (ended.finished_at, ended.lease_owner) == (clock.now(), "")
    assert store.items(engine, "acme", job.id)[1].error == "invalid_request"


def test_nothing_worked(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    accept(items=1)
    job = take(engine, clock)
    running.finish_item(engine, running.waiting_items(engine, job.id, 1)[0], "run", FAILED)
    ended = running.give_back(engine, clock, job.id, "run")
    assert (ended.state, "none of the items" in ended.error) == ("failed", True)


def test_a_broken_job_is_failed_with_its_reason(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    accept()
    job = take(engine, clock)
    ended = running.give_back(engine, clock, job.id, "run", error="the folder is gone")
    assert (ended.state, ended.error) == ("failed", "the folder is gone")
    assert running.claim(engine, clock, "run", 60) is None


def test_what_may_pass_is_tried_again_after_the_others(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    accept()
    job = take(engine, clock)
    running.finish_item(engine, running.waiting_items(engine, job.id, 1)[0], "run", LATER)
    assert [one.seq for one in running.waiting_items(engine, job.id, 9)] == [1, 2]
    for item in running.waiting_items(engine, job.id, 9):
        running.finish_item(engine, item, "run", DONE)
    (again,) = running.waiting_items(engine, job.id, 9)
    assert (again.seq, again.attempts, again.error) == (0, 1, "provider_timeout")
    assert running.give_back(engine, clock, job.id, "run", pause=30).state == "running"
    assert running.claim(engine, clock, "run", 60) is None
    clock.advance(30)
    assert take(engine, clock).id == job.id


def test_jobs_take_turns(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    one, two = accept(), accept()
    served = []
    for _ in range(4):
        job = take(engine, clock)
        served.append(job.id)
        clock.advance(1)
        running.give_back(engine, clock, job.id, "run")
    assert served == [one.id, two.id, one.id, two.id]


def test_runs_at_work_are_bounded(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    for _ in range(4):
        accept()
    assert running.claim(engine, clock, "a", 60)
    assert running.claim(engine, clock, "b", 60)
    assert running.claim(engine, clock, "c", 60) is None
    assert running.claim(engine, clock, "a", 60), "one that is at work goes on"
    clock.advance(60)
    assert running.claim(engine, clock, "c", 60), "the dead do not count"


def test_a_folders_items_come_later_all_or_none(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    accept(items=0)
    job = take(engine, clock)
    running.set_items(engine, job.id, "run", [{"file": "a.md"}, {"file": "b.md"}])
    assert store.get(engine, "acme", job.id).total == 2
    assert [one.input["file"] for one in running.waiting_items(engine, job.id, 9)] == ["a.md", "b.md"]


def test_a_run_that_was_cancelled_takes_its_job_along(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    finished, mine, other = accept(items=1), accept(), accept()
    assert take(engine, clock).id == finished.id
    running.finish_item(engine, running.waiting_items(engine, finished.id, 1)[0], "run", DONE)
    running.give_back(engine, clock, finished.id, "run")
    assert take(engine, clock).id == mine.id
    assert take(engine, clock, "another").id == other.id
    assert running.cancel_run(engine, clock, "flow of run") == 1
    states = [store.get(engine, "acme", job.id).state for job in (finished, mine, other)]
    assert states == ["succeeded", "cancelled", "running"]
