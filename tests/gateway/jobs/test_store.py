"""What callers see of jobs, on both databases."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from sqlalchemy import Engine, func, select

from gateway.clock import ManualClock
from gateway.errors import TooManyJobs, UnknownJob
from gateway.jobs import running, store
from gateway.storage.engine import reading
from gateway.storage.models import JobItemRow, JobRow, OutboxRow
from tests.gateway.jobs.conftest import Accept, new_job

BEFORE_ANYTHING = 0.0


def rows(engine: Engine, table: type[JobRow] | type[JobItemRow] | type[OutboxRow]) -> int:
    with reading(engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_job_its_items_and_its_event_are_one(engine: Engine, clock: ManualClock) -> None:
    job = store.accept(engine, clock, new_job(clock, items=1_201), most_open=1)
    assert (job.state, job.total, job.done, job.failed, job.cost_usd) == ("queued", 1_201, 0, 0, Decimal(0))
    items = store.items(engine, "acme", job.id, limit=2_000)
    assert [item.seq for item in items] == list(range(1_201))
    assert items[700].input == {"variables": {"question": "number 700"}}
    with reading(engine) as session:
        (event,) = session.scalars(select(OutboxRow))
    assert (event.event, event.resource) == ("promptyard.job.created", f"promptyard.job.{job.id}")
    assert event.payload == {"job_id": job.id, "tenant": "acme", "kind": "completion", "items": 1_201}


def test_the_same_id_is_accepted_once(engine: Engine, clock: ManualClock) -> None:
    new = new_job(clock)
    first = store.accept(engine, clock, new, most_open=1)
    assert store.accept(engine, clock, new, most_open=1).id == first.id
    assert (rows(engine, JobRow), rows(engine, JobItemRow), rows(engine, OutboxRow)) == (1, 3, 1)


def test_open_jobs_of_a_tenant_are_bounded_also_at_once(engine: Engine, clock: ManualClock) -> None:
    def try_one(new: store.NewJob) -> bool:
        try:
            store.accept(engine, clock, new, most_open=3)
        except TooManyJobs:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(try_one, [new_job(clock) for _ in range(8)]))
    assert sum(taken) == 3
    assert (rows(engine, JobRow), rows(engine, JobItemRow)) == (3, 9), "who is refused leaves nothing"
    assert try_one(new_job(clock, tenant="other"))
    store.cancel(engine, clock, "acme", store.page(engine, "acme")[0].id)
    assert try_one(new_job(clock))


def test_jobs_are_listed_newest_first_by_pages(engine: Engine, accept: Accept) -> None:
    made = [accept().id for _ in range(5)]
    accept("other")
    first = [job.id for job in store.page(engine, "acme", limit=2)]
    rest = [job.id for job in store.page(engine, "acme", after=first[-1], limit=9)]
    assert first + rest == list(reversed(made))


def test_items_are_read_by_pages(engine: Engine, accept: Accept) -> None:
    job = accept(items=5)
    assert [item.seq for item in store.items(engine, "acme", job.id, limit=2)] == [0, 1]
    assert [item.seq for item in store.items(engine, "acme", job.id, after=1, limit=9)] == [2, 3, 4]


@pytest.mark.parametrize("name", ["", "job_1", "\0", "job_" + "0" * 26, "x" * 500])
def test_what_is_no_job_is_unknown(engine: Engine, clock: ManualClock, name: str) -> None:
    for ask in (store.get, store.items):
        with pytest.raises(UnknownJob):
            ask(engine, "acme", name)
    with pytest.raises(UnknownJob):
        store.cancel(engine, clock, "acme", name)


def test_another_tenants_job_is_unknown(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    job = accept()
    for ask in (store.get, store.items):
        with pytest.raises(UnknownJob):
            ask(engine, "other", job.id)
    with pytest.raises(UnknownJob):
        store.cancel(engine, clock, "other", job.id)
    assert store.get(engine, "acme", job.id).state == "queued"


def test_a_queued_job_is_cancelled_at_once_and_never_run(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    job = accept()
    for _ in range(2):
        cancelled = store.cancel(engine, clock, "acme", job.id)
        assert (cancelled.state, cancelled.finished_at) == ("cancelled", clock.now())
    assert running.claim(engine, clock, "run", 60) is None


def test_a_job_that_is_worked_on_is_cancelled_by_its_run(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    job = accept()
    running.claim(engine, clock, "run", 60)
    for _ in range(2):
        assert store.cancel(engine, clock, "acme", job.id).state == "cancelling"
    assert running.renew(engine, job.id, "run", clock.now() + 60) == "cancelling"
    assert running.give_back(engine, clock, job.id, "run").state == "cancelled"
    assert store.cancel(engine, clock, "acme", job.id).state == "cancelled"


def test_a_killed_runs_job_is_cancelled_at_once(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    job = accept()
    running.claim(engine, clock, "killed", 60)
    clock.advance(61)
    assert store.cancel(engine, clock, "acme", job.id).state == "cancelled"


def test_finished_jobs_are_forgotten_in_time(engine: Engine, clock: ManualClock, accept: Accept) -> None:
    old, unfinished = accept(), accept()
    store.cancel(engine, clock, "acme", old.id)
    clock.advance(100)
    young = accept()
    store.cancel(engine, clock, "acme", young.id)
    assert store.forget(engine, clock.now() - 50) == 1
    assert {job.id for job in store.page(engine, "acme")} == {unfinished.id, young.id}
    assert rows(engine, JobItemRow) == 6
