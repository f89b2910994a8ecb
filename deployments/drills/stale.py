"""Stale answer: one that was being made while its document changed is kept, and served after the change."""

import asyncio
import random

from deployments.drills.outcome import Figures, Outcome, judged
from deployments.drills.parts import ReadingAnew, Unchanging
from deployments.drills.yard import PROMPT, TENANT, Yard, relaid, yard
from gateway.cache.exact import ExactCache
from gateway.compose import Gateway
from gateway.pipeline import Pipeline

_SECONDS = 0.15
_READS = 5
_QUESTION = "When do parcels arrive?"


async def run(rounds: int) -> Outcome:
    """Each round changes the document in the middle of a call, then reads; the check of epochs is what is left out.

    In its place is what is usually done: the answers that the document may have grounded are deleted at its change.
    """
    async with yard(seconds=_SECONDS) as place:
        async with place.workers(2) as workers:
            without = await _changes(place, workers, [_unchecked(one) for one in workers], rounds, delete=True)
        async with place.workers(2) as workers:
            protected = await _changes(place, workers, [one.pipeline for one in workers], rounds, delete=False)
    return judged(
        "stale",
        f"{rounds} documents that change while an answer from them is being made",
        "epochs, checked at write and read (their answers are deleted at the change instead)",
        without=without,
        protected=protected,
        fails=lambda one: one["stale answers after the change"] > 0,
        holds=lambda one: one["stale answers after the change"] == 0 and one["served from the cache"] > 0,
    )


def _unchecked(worker: Gateway) -> Pipeline:
    epochs = Unchanging()
    cache = ExactCache(worker.cache_redis, epochs, clock=worker.clock, entropy=random.SystemRandom(), timeout=1.0)
    return relaid(worker, cache=cache, epochs=epochs, retriever=ReadingAnew(worker.retriever, worker.epochs))


async def _changes(place: Yard, workers: list[Gateway], paths: list[Pipeline], rounds: int, *, delete: bool) -> Figures:
    stale = reads = hits = 0
    side = "deleted" if delete else "checked"
    await _put(workers[0], side, 0)
    for number in range(1, rounds + 1):
        question = f"{_QUESTION} ({side} {number})"
        under_way = asyncio.ensure_future(paths[1].answer(place.grounded(question)))
        await asyncio.sleep(_SECONDS / 3)  # it has read the old document and waits for the provider
        await _put(workers[0], side, number)
        if delete:
            await workers[0].cache.forget(TENANT, PROMPT)
        await under_way
        await paths[1].settle()  # what it keeps is kept after it was answered
        for read in range(_READS):
            answer = await paths[read % 2].answer(place.grounded(question))
            reads += 1
            hits += answer.layer != "none"
            stale += _says(side, number) not in answer.reply.text
    return {
        "changes": rounds,
        "reads after a change": reads,
        "served from the cache": hits,
        "stale answers after the change": stale,
    }


async def _put(worker: Gateway, side: str, number: int) -> None:
    await worker.documents.put(TENANT, PROMPT, "shipping", title="Shipping", text=_says(side, number))


def _says(side: str, number: int) -> str:
    return f"When do parcels arrive: {side} day {number}."
