"""The limits of a provider's model, for all keys and workers together."""

import pytest

from gateway.clock import ManualClock
from gateway.settings import ModelLimits
from gateway.types import Completion, ModelRef, Usage
from tests.gateway.limits.conftest import FakeOutbox, Workers

SMALL = "openai/small"


def request(call_id: str = "call_1", model: str = "small", max_tokens: int = 100) -> Completion:
    messages = ({"role": "user", "content": "Hello"},)
    return Completion(
        call_id=call_id, messages=messages, params={"max_tokens": max_tokens}, ref=ModelRef("openai", model)
    )


async def test_requests_of_a_model_are_shared_by_all_workers(workers: Workers) -> None:
    gates = [workers(models={SMALL: ModelLimits(requests_per_minute=2)}).room.models for _ in range(3)]
    waits = [await gate.enter(request(), background=False) for gate in gates]
    assert waits[:2] == [0.0, 0.0]
    assert waits[2] == pytest.approx(30, abs=0.1)


async def test_a_model_that_is_not_named_is_not_limited(workers: Workers, dead_url: str) -> None:
    worker = workers(url=dead_url, models={SMALL: ModelLimits(requests_per_minute=1), "openai/free": ModelLimits()})
    for name in ("other", "free"):
        assert await worker.room.models.enter(request(model=name), background=False) == 0.0
    assert worker.counted("limit_unguarded", kind="model_requests") == 0


async def test_a_refusal_for_tokens_counts_no_request(workers: Workers, clock: ManualClock) -> None:
    limits = ModelLimits(requests_per_minute=2, tokens_per_minute=150)
    gate = workers(models={SMALL: limits}).room.models
    assert await gate.enter(request("a"), background=False) == 0.0
    for _ in range(3):
        assert await gate.enter(request("b"), background=False) > 0.0
    await gate.settle(request("a"), Usage(5, 5))
    assert await gate.enter(request("b"), background=False) == 0.0
    await gate.settle(request("b"), None)
    assert await gate.enter(request("c"), background=False) == pytest.approx(30, abs=0.1)


async def test_settling_twice_or_unasked_changes_nothing(workers: Workers) -> None:
    gate = workers(models={SMALL: ModelLimits(tokens_per_minute=250)}).room.models
    assert await gate.enter(request("a"), background=False) == 0.0
    assert await gate.enter(request("b"), background=False) == 0.0
    await gate.settle(request("a"), Usage(50, 50))
    for _ in range(3):
        await gate.settle(request("a"), None)
        await gate.settle(request("never"), None)
    assert await gate.enter(request("c"), background=False) > 0.0


async def test_background_waits_and_live_is_told(workers: Workers, clock: ManualClock) -> None:
    gate = workers(models={SMALL: ModelLimits(requests_per_minute=6)}, background_wait=15.0).room.models
    for _ in range(6):
        await gate.enter(request(), background=False)
    begun = clock.now()
    assert await gate.enter(request(), background=True) == 0.0
    assert clock.now() - begun == pytest.approx(10, abs=0.1)
    assert await gate.enter(request(), background=False) == pytest.approx(10, abs=0.1)


async def test_without_redis_everybody_may(workers: Workers, dead_url: str) -> None:
    worker = workers(url=dead_url, models={SMALL: ModelLimits(requests_per_minute=1, tokens_per_minute=1)})
    for _ in range(3):
        assert await worker.room.models.enter(request(), background=False) == 0.0
        await worker.room.models.settle(request(), Usage(10, 10))
    assert worker.counted("limit_unguarded", kind="model_requests") == 3


async def test_people_hear_of_it(workers: Workers, outbox: FakeOutbox) -> None:
    worker = workers(models={SMALL: ModelLimits(requests_per_minute=1)})
    await worker.room.models.enter(request(), background=False)
    await worker.room.models.enter(request(), background=False)
    await worker.room.notices.written()
    assert outbox.told == [("model_requests", "near"), ("model_requests", "reached")]
    assert {one["resource"] for one in outbox.events.values()} == {"promptyard.limit.model_requests.openai%2Fsmall"}
