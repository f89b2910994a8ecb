"""A batch is submitted once and collected once, whoever dies in between, and what it lacks is said to be missing."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.storage.engine import reading
from gateway.storage.models import ProviderBatchRow
from gateway.types import ModelRef
from tasks.batching import records
from tasks.batching.desk import BatchDesk, BatchUsage
from tests.tasks.batching.fake_api import FakeBatches, PassingClock, items

SMALL = ModelRef("openai", "small")


@pytest.fixture
def clock() -> PassingClock:
    return PassingClock()


@pytest.fixture
def api(clock: PassingClock) -> FakeBatches:
    return FakeBatches(clock)


Desk = Callable[..., BatchDesk]


@pytest.fixture
def desk(engine: Engine, clock: PassingClock) -> Desk:
    def build(owner: str = "one", *, wait: float = 1000.0, tenant: str = "acme", **changes: Any) -> BatchDesk:
        return BatchDesk(engine, clock, tenant, owner, wait=wait, sleep=changes.get("sleep", clock.sleep))

    return build


def states(engine: Engine) -> list[str]:
    with reading(engine) as session:
        return sorted(row.state for row in session.query(ProviderBatchRow))


async def test_everything_is_answered_and_settled(desk: Desk, api: FakeBatches, engine: Engine) -> None:
    mine = desk()
    replies = await mine.work_off(api, SMALL, items("a", "b", "c"), {})
    assert {identity: reply.text for identity, reply in replies.items()} == {"a": "a", "b": "b", "c": "c"}
    assert replies["a"].usage == BatchUsage(100, 10)
    assert (replies["a"].provider, replies["a"].model, replies["a"].fell_back) == ("openai", "small", False)
    assert states(engine) == ["submitted"], "until the answers are kept"
    await mine.settle()
    assert states(engine) == ["collected"]


async def test_what_is_missing_is_missing(desk: Desk, api: FakeBatches) -> None:
    api.lost_ids = frozenset({"b"})
    assert set(await desk().work_off(api, SMALL, items("a", "b", "c"), {})) == {"a", "c"}


class Dies(BaseException):
    """Stands for SIGKILL."""


async def died(desk: Desk, api: FakeBatches, *names: str) -> None:
    """A run that is killed at its first wait for the batch."""

    async def die(_: float) -> None:
        raise Dies

    with pytest.raises(Dies):
        await desk("the dead", sleep=die).work_off(api, SMALL, items(*names), {})


async def test_a_run_killed_while_it_waits_is_taken_up(desk: Desk, api: FakeBatches, engine: Engine) -> None:
    await died(desk, api, "a", "b", "c")
    second = desk("the next")
    # one of them was answered meanwhile by something else, and a new one is wanted
    replies = await second.work_off(api, SMALL, items("a", "c", "d"), {})
    await second.settle()
    assert set(replies) >= {"a", "c", "d"}
    assert [names for _, names, _ in api.submitted.values()] == [("a", "b", "c"), ("d",)]
    assert states(engine) == ["collected", "collected"]


async def test_another_tenants_or_models_batch_is_not_ours(desk: Desk, api: FakeBatches) -> None:
    await died(desk, api, "a")
    await desk(tenant="other").work_off(api, SMALL, items("a"), {})
    await desk().work_off(api, ModelRef("openai", "large"), items("a"), {})
    assert len(api.submitted) == 3


@pytest.mark.parametrize("keeps_notes", [True, False])
async def test_killed_between_submitting_and_writing_it_down(
    desk: Desk, api: FakeBatches, engine: Engine, clock: PassingClock, keeps_notes: bool
) -> None:
    api.keeps_notes = keeps_notes
    row, mine = records.claim(engine, clock, "acme", SMALL, ["a", "b"], "the dead")
    assert mine
    await api.submit(f"{row.id}@{row.created_at:.3f}", items("a", "b"), {})
    replies = await desk("the next").work_off(api, SMALL, items("a", "b"), {})
    assert set(replies) == {"a", "b"}
    assert len(api.submitted) == 1, "it was found, not submitted again"
    assert clock.now() >= row.lease_until, "while the lease holds, its owner may be about to submit it"


async def test_killed_before_submitting_nothing_is_found_and_everything_is_missing(
    desk: Desk, api: FakeBatches, engine: Engine, clock: PassingClock
) -> None:
    records.claim(engine, clock, "acme", SMALL, ["a", "b"], "the dead")
    assert await desk("the next").work_off(api, SMALL, items("a", "b"), {}) == {}
    assert states(engine) == ["abandoned"]
    assert len(await desk("the next").work_off(api, SMALL, items("a", "b"), {})) == 2, "and the next time it is made"


async def test_a_submission_whose_answer_was_lost_is_found(desk: Desk, api: FakeBatches) -> None:
    api.answer_is_lost = True
    assert len(await desk().work_off(api, SMALL, items("a", "b"), {})) == 2
    assert len(api.submitted) == 1


async def test_a_provider_without_a_batch_api_costs_nothing_but_the_try(
    desk: Desk, api: FakeBatches, engine: Engine
) -> None:
    api.submissions_fail = True
    assert await desk().work_off(api, SMALL, items("a", "b"), {}) == {}
    assert states(engine) == ["abandoned"]


async def test_a_batch_that_takes_too_long_is_cancelled_and_what_is_done_is_taken(
    desk: Desk, api: FakeBatches, clock: PassingClock
) -> None:
    api.takes = 1e9
    begun = clock.now()
    replies = await desk(wait=600.0).work_off(api, SMALL, items("a", "b", "c", "d"), {})
    assert (set(replies), api.cancelled) == ({"a", "b"}, {"batch_1"})
    assert clock.now() - begun <= 601


@pytest.mark.parametrize(("failing", "answered", "state"), [(9, 2, "collected"), (10**6, 0, "submitted")])
async def test_looks_may_fail_for_a_while(
    desk: Desk, api: FakeBatches, engine: Engine, failing: int, answered: int, state: str
) -> None:
    api.failing_looks = failing
    mine = desk()
    assert len(await mine.work_off(api, SMALL, items("a", "b"), {})) == answered
    await mine.settle()
    assert states(engine) == [state]


async def test_a_batch_that_the_provider_forgot_is_given_up(desk: Desk, api: FakeBatches, engine: Engine) -> None:
    api.forgets = True
    mine = desk()
    assert await mine.work_off(api, SMALL, items("a", "b"), {}) == {}
    await mine.settle()
    assert states(engine) == ["abandoned"]


async def test_of_two_at_once_one_submits_and_both_are_answered(desk: Desk, api: FakeBatches) -> None:
    both = await asyncio.gather(*(desk(owner).work_off(api, SMALL, items("a", "b"), {}) for owner in ("one", "two")))
    assert [set(replies) for replies in both] == [{"a", "b"}, {"a", "b"}]
    assert len(api.submitted) == 1


async def test_the_same_may_be_asked_again_later(desk: Desk, api: FakeBatches, engine: Engine) -> None:
    for _ in range(2):
        mine = desk()
        assert len(await mine.work_off(api, SMALL, items("b", "a"), {})) == 2
        await mine.settle()
    assert len(api.submitted) == 2
    assert states(engine) == ["collected"], "one record for the same requests"


async def test_a_broken_answer_is_none(desk: Desk, api: FakeBatches) -> None:
    class Broken(FakeBatches):
        async def answers(self, batch: str) -> dict[str, object]:
            return {"a": {"choices": []}, "b": "?", "c": None}

    assert await desk().work_off(Broken(api.clock), SMALL, items("a", "b", "c"), {}) == {}
