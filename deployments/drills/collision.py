"""Collision: two calls that differ get one answer, because the key does not say how they differ."""

import itertools
import random

from deployments.drills.outcome import Figures, Outcome, judged
from deployments.drills.parts import Forgetful, Unchanging
from deployments.drills.yard import Yard, relaid, yard
from gateway.cache.exact import ExactCache
from gateway.compose import Gateway
from gateway.pipeline import Pipeline

_TENANTS = ("north", "south")
_PARAMETERS = (
    {"max_tokens": 50},
    {"max_tokens": 500},
    {"max_tokens": 50, "seed": 7},
    {"max_tokens": 50, "a_parameter_of_tomorrow": True},
)


async def run(questions: int) -> Outcome:
    """Each question by each tenant with each set of parameters, twice; the key is what lacks them."""
    async with yard(seconds=0.0) as place, place.workers(1) as (worker,):
        without = await _ask_all(place, _forgetful(worker), questions, "short key")
        protected = await _ask_all(place, worker.pipeline, questions, "whole key")
    return judged(
        "collision",
        f"{questions} questions, each of {len(_TENANTS)} tenants with {len(_PARAMETERS)} sets of parameters",
        "tenant and parameters in the key",
        without=without,
        protected=protected,
        fails=lambda one: one["another tenant's answers"] > 0 and one["answers to other parameters"] > 0,
        holds=lambda one: (
            one["another tenant's answers"] == 0
            and one["answers to other parameters"] == 0
            and one["served from the cache"] > 0
        ),
    )


def _forgetful(worker: Gateway) -> Pipeline:
    cache = ExactCache(worker.cache_redis, Unchanging(), clock=worker.clock, entropy=random.SystemRandom(), timeout=1.0)
    return relaid(worker, cache=Forgetful(cache))


async def _ask_all(place: Yard, path: Pipeline, questions: int, side: str) -> Figures:
    """Each answer of the provider carries a number of its own, so that it is known for whom it was made."""
    made_for: dict[str, tuple[str, int]] = {}
    hits = others = unlike = 0
    for _, number in itertools.product(range(2), range(questions)):
        for tenant, kind in itertools.product(_TENANTS, range(len(_PARAMETERS))):
            call = place.call(f"question {number} ({side})", tenant=tenant, params=_PARAMETERS[kind])
            answer = await path.answer(call)
            hits += answer.layer != "none"
            whose, which = made_for.setdefault(answer.reply.text, (tenant, kind))
            others += whose != tenant
            unlike += which != kind
    return {
        "calls": 2 * questions * len(_TENANTS) * len(_PARAMETERS),
        "served from the cache": hits,
        "another tenant's answers": others,
        "answers to other parameters": unlike,
    }
