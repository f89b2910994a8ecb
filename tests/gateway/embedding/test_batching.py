"""Micro-batches: everybody's own rows in order, few requests, and nobody else's trouble."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.embedding.base import Embedded, share_tokens
from gateway.embedding.batching import MicroBatcher
from gateway.errors import Overloaded, ProviderError, ProviderRejectedRequest, ProviderTimeout
from tests.gateway.embedding.fakes import FakeModel, Timers, row_of, turns


async def settle(model: FakeModel, timers: Timers, tasks: Sequence["asyncio.Task[Embedded]"]) -> None:
    """Let windows pass until every caller has its answer."""
    model.release()
    for _ in range(200):
        await turns()
        timers.elapse()
        if all(task.done() for task in tasks):
            return
    raise AssertionError("somebody was forgotten")


def owns(answer: Embedded, inputs: Sequence[str]) -> bool:
    return np.array_equal(answer.vectors, np.stack([row_of(one) for one in inputs])) and answer.tokens == tuple(
        map(len, inputs)
    )


CALLERS = st.lists(
    st.tuples(
        st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=9),
        st.integers(0, 3),  # turns of the loop before this caller asks
        st.booleans(),  # whether a window passes before
    ),
    min_size=1,
    max_size=25,
)


@given(CALLERS, st.integers(1, 12))
async def test_every_caller_gets_its_own_rows_in_order(
    callers: list[tuple[list[str], int, bool]], max_batch: int
) -> None:
    model, timers = FakeModel(), Timers()
    batcher = MicroBatcher(model, max_batch=max_batch, later=timers)
    tasks = []
    for texts, pause, window in callers:
        await turns(pause)
        if window:
            timers.elapse()
        tasks.append(asyncio.create_task(batcher.answer(texts)))
    await settle(model, timers, tasks)
    for (texts, _, _), task in zip(callers, tasks, strict=True):
        answer = task.result()
        if any(text.startswith("bad") for text in texts):
            continue
        assert owns(answer, texts)
    asked = [one for request in model.requests for one in request]
    assert sorted(map(str, asked)) == sorted(text for texts, _, _ in callers for text in texts)  # each once
    largest = max(len(texts) for texts, _, _ in callers)
    assert all(len(request) <= max(max_batch, largest) for request in model.requests)


@given(st.integers(0, 10_000), st.lists(st.text(max_size=50), min_size=1, max_size=30))
def test_shares_of_tokens_add_up(total: int, texts: list[str]) -> None:
    shares = share_tokens(total, texts)
    assert (len(shares), sum(shares)) == (len(texts), total)
    assert min(shares) >= 0


async def test_who_asks_at_once_shares_a_request() -> None:
    """Two hundred callers, by the window: two requests, where each alone makes two hundred."""
    alone, together, timers = FakeModel(), FakeModel(), Timers()
    batcher = MicroBatcher(together, later=timers)
    texts = [f"text {n}" for n in range(200)]
    await asyncio.gather(*(alone.answer([text]) for text in texts))
    tasks = [asyncio.create_task(batcher.answer([text])) for text in texts]
    await settle(together, timers, tasks)
    assert (len(alone.requests), len(together.requests)) == (200, 2)


async def test_nobody_waits_for_company_that_cannot_come_later_callers_do() -> None:
    model, timers = FakeModel(), Timers()
    batcher = MicroBatcher(model, window=0.003, later=timers)
    await batcher.answer(["alone"])
    assert timers.asked == [0.0]
    model.hold()
    first = asyncio.create_task(batcher.answer(["first"]))
    await turns()
    others = [asyncio.create_task(batcher.answer([text])) for text in ("second", "third")]
    await turns()
    assert timers.asked == [0.0, 0.0, 0.003]
    assert model.requests[1:] == [["first"]]  # the others gather until their window has passed
    await settle(model, timers, [first, *others])
    assert model.requests[2:] == [["second", "third"]]


async def test_a_full_batch_goes_without_its_window() -> None:
    model, timers = FakeModel(), Timers()
    batcher = MicroBatcher(model, max_batch=3, later=timers)
    model.hold()
    tasks = [asyncio.create_task(batcher.answer([text])) for text in ("a", "b", "c", "d")]
    await turns()
    assert model.requests == [["a", "b", "c"]]
    large = asyncio.create_task(batcher.answer(["e", "f", "g", "h"]))
    await turns()
    assert model.requests[1:] == [["d"], ["e", "f", "g", "h"]]
    await settle(model, timers, [*tasks, large])


async def test_a_bad_text_fails_its_own_caller_only() -> None:
    model, timers = FakeModel(), Timers()
    batcher = MicroBatcher(model, later=timers)
    asked = [["good"], ["fine", "bad one"], ["well"]]
    tasks = [asyncio.create_task(batcher.answer(texts)) for texts in asked]
    await settle(model, timers, tasks)
    assert owns(tasks[0].result(), asked[0])
    assert owns(tasks[2].result(), asked[2])
    with pytest.raises(ProviderRejectedRequest):
        tasks[1].result()
    assert len(model.requests) == 1 + len(asked)  # never more than one beyond what they would have been alone


async def test_other_errors_go_to_that_batch_each_caller_its_own() -> None:
    model, timers = FakeModel(), Timers()
    batcher = MicroBatcher(model, later=timers)
    model.failures = [ProviderTimeout("late", provider="fake", model="model", retry_after=3)]
    tasks = [asyncio.create_task(batcher.answer([text])) for text in ("a", "b")]
    await settle(model, timers, tasks)
    errors = [task.exception() for task in tasks]
    assert len(model.requests) == 1
    assert errors[0] is not errors[1]
    for error in errors:
        assert isinstance(error, ProviderTimeout)
        assert (error.message, error.provider, error.retry_after) == ("late", "fake", 3)
    assert owns(await batcher.answer(["a"]), ["a"])


async def test_a_defect_reaches_the_callers() -> None:
    model, timers = FakeModel(), Timers()
    model.failures = [ZeroDivisionError("a defect")]
    with pytest.raises(ZeroDivisionError):
        await MicroBatcher(model, later=timers).answer(["a"])


async def test_one_who_leaves_leaves_the_others_alone() -> None:
    model, timers = FakeModel(), Timers()
    batcher = MicroBatcher(model, later=timers)
    model.hold()
    tasks = [asyncio.create_task(batcher.answer([text])) for text in ("a", "b", "c")]
    await turns()
    tasks[1].cancel()
    await turns()
    assert tasks[1].cancelled()
    await settle(model, timers, tasks)
    assert owns(tasks[0].result(), ["a"])
    assert owns(tasks[2].result(), ["c"])
    assert model.cancelled == 0


async def test_the_last_one_who_leaves_takes_the_request_along() -> None:
    model, timers = FakeModel(), Timers()
    batcher = MicroBatcher(model, max_pending=2, later=timers)
    model.hold()
    tasks = [asyncio.create_task(batcher.answer([text])) for text in ("a", "b")]
    await turns()
    for task in tasks:
        task.cancel()
    await turns()
    assert model.cancelled == 1
    model.release()
    assert owns(await batcher.answer(["c", "d"]), ["c", "d"])  # their places are free again


async def test_places_are_free_again_also_when_a_request_never_began() -> None:
    batcher = MicroBatcher(FakeModel(), max_batch=2, max_pending=2, later=Timers())
    task = asyncio.create_task(batcher.answer(["a", "b"]))  # a full batch: its request begins at the next turn
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert owns(await batcher.answer(["c", "d"]), ["c", "d"])


async def test_one_who_leaves_before_the_request_is_not_asked_for() -> None:
    model, timers = FakeModel(), Timers()
    batcher = MicroBatcher(model, later=timers)
    model.hold()
    first = asyncio.create_task(batcher.answer(["first"]))
    await turns()
    tasks = [asyncio.create_task(batcher.answer([text])) for text in ("gone", "here")]
    await turns()
    tasks[0].cancel()
    await settle(model, timers, [first, *tasks])
    assert model.requests == [["first"], ["here"]]
    assert owns(tasks[1].result(), ["here"])


async def test_the_queue_is_bounded() -> None:
    model, timers = FakeModel(), Timers()
    batcher = MicroBatcher(model, max_pending=3, later=timers)
    model.hold()
    tasks = [asyncio.create_task(batcher.answer(texts)) for texts in (["a", "b"], ["c"])]
    await turns()
    with pytest.raises(Overloaded):
        await batcher.answer(["d"])
    await settle(model, timers, tasks)
    assert owns(await batcher.answer(["d"]), ["d"])


async def test_closing_ends_who_waits_and_the_model() -> None:
    model, timers = FakeModel(), Timers()
    batcher = MicroBatcher(model, later=timers)
    model.hold()
    upstream = asyncio.create_task(batcher.answer(["a"]))
    await turns()
    gathering = asyncio.create_task(batcher.answer(["b"]))
    await turns()
    await batcher.aclose()
    for task in (upstream, gathering):
        with pytest.raises(Overloaded):
            await task
    with pytest.raises(Overloaded):
        await batcher.answer(["c"])
    assert model.closed


async def test_it_is_an_embedder() -> None:
    model = FakeModel()
    batcher = MicroBatcher(model)  # with the loop's own timer
    assert (batcher.name, batcher.dimensions) == (model.name, model.dimensions)
    assert np.allclose(np.linalg.norm(await batcher.embed(["a", "b"]), axis=1), 1.0)
    model.failures = [ProviderError("no")]
    with pytest.raises(ProviderError):
        await batcher.embed(["a"])
