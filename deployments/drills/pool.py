"""Pool: Redis hangs. Without bounds each call opens a connection and hangs as well; with them it goes on uncached."""

import asyncio
import random
import time

from redis.asyncio import Redis

from deployments.drills.outcome import Figures, Outcome, judged
from deployments.drills.parts import OwnConnections, Unchanging
from deployments.drills.yard import Yard, relaid, yard
from gateway.cache.exact import ExactCache
from gateway.compose import Gateway
from gateway.pipeline import Pipeline

_HANGS = 3.0
_TIMEOUT = 0.25
_QUICKLY = 2.0


async def run(calls: int) -> Outcome:
    """``calls`` at once while the cache Redis hangs for ``_HANGS`` seconds; pool and time-outs are what is left out."""
    async with yard(seconds=0.05, redis_timeout=_TIMEOUT) as place, place.workers(1) as (worker,):
        line = OwnConnections(place.cache_redis.url)
        try:
            without = await _hang(place, _unbounded(worker, line), calls, "(unbounded)")
        finally:
            await line.redis.aclose()
        protected = await _hang(place, worker.pipeline, calls, "(bounded)")
    return judged(
        "pool",
        f"{calls} calls at once, a cache Redis that hangs for {_HANGS:g} s",
        "bounds of connections and time",
        without=without,
        protected=protected,
        fails=lambda one: one["slowest answer (s)"] >= _HANGS * 0.9 and one["connections opened"] >= calls - 1,
        holds=lambda one: (
            one["slowest answer (s)"] < _QUICKLY
            and one["answered (%)"] == 100
            and one["connections opened"] <= worker.settings.redis_connections
        ),
    )


def _unbounded(worker: Gateway, line: OwnConnections) -> Pipeline:
    cache = ExactCache(
        worker.cache_redis,
        Unchanging(),
        clock=worker.clock,
        entropy=random.SystemRandom(),
        timeout=60.0,
        line=line,
    )
    return relaid(worker, cache=cache)


async def _hang(place: Yard, path: Pipeline, calls: int, side: str) -> Figures:
    async with Redis.from_url(place.cache_redis.url) as admin:
        await path.answer(place.call(f"the first {side}"))  # connected, as in the middle of a day
        before = int((await admin.info("stats"))["total_connections_received"])
        await admin.client_pause(int(_HANGS * 1000))
        seconds = await asyncio.gather(*(_timed(place, path, f"question {n} {side}") for n in range(calls)))
        await admin.ping()  # answered when it is over
        opened = int((await admin.info("stats"))["total_connections_received"]) - before
    answered = [one for one in seconds if one is not None]
    return {
        "answered (%)": 100 * len(answered) / calls,
        "slowest answer (s)": max(answered, default=0.0),
        "connections opened": opened,
    }


async def _timed(place: Yard, path: Pipeline, question: str) -> float | None:
    begun = time.monotonic()
    try:
        await path.answer(place.call(question))
    except Exception:  # whatever it is: it was not answered
        return None
    return time.monotonic() - begun
