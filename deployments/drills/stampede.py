"""Stampede: many ask the same thing at once while the cache is empty, and every one of them pays for the answer."""

import asyncio
import time

from deployments.drills.outcome import Figures, Outcome, judged
from deployments.drills.parts import Alone
from deployments.drills.yard import MODEL, Yard, relaid, yard
from gateway.pipeline import Pipeline
from gateway.pricing import price
from gateway.types import Usage

WORKERS = 4
_SECONDS = 0.3


async def run(calls: int) -> Outcome:
    """``calls`` identical ones, spread over the workers; coalescing is what is left out."""
    async with yard(seconds=_SECONDS) as place, place.workers(WORKERS) as workers:
        without = await _storm(place, [relaid(one, coalescer=Alone()) for one in workers], calls, "When? (alone)")
        protected = await _storm(place, [one.pipeline for one in workers], calls, "When? (together)")
    return judged(
        "stampede",
        f"{calls} identical calls at once, {WORKERS} workers, an empty cache",
        "coalescing",
        without=without,
        protected=protected,
        fails=lambda one: one["calls upstream"] > calls / 2,
        holds=lambda one: one["calls upstream"] == 1 and one["errors"] == 0,
    )


async def _storm(place: Yard, paths: list[Pipeline], calls: int, question: str) -> Figures:
    place.upstream.reset()
    begun = time.monotonic()
    asked = [paths[number % len(paths)].answer(place.call(question)) for number in range(calls)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    seconds = time.monotonic() - begun
    usage = Usage(input_tokens=400, output_tokens=100)
    each = price(MODEL.provider, MODEL.model, usage, place.clock.now()).usd or 0
    return {
        "calls upstream": place.upstream.calls,
        "upstream at once": place.upstream.most_at_once,
        "cost (USD)": float(each) * place.upstream.calls,
        "errors": sum(isinstance(one, BaseException) for one in answers),
        "last answer after (s)": seconds,
    }
