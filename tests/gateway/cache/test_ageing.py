"""Answers that only age: when they are served on, when they are made anew ahead, and for how long Redis has them."""

import math
import random

import pytest
from msgspec import structs
from redis.asyncio import Redis

from gateway.cache import rules
from gateway.cache.epochs import Epochs
from gateway.cache.exact import ExactCache
from gateway.clock import ManualClock
from gateway.types import Attempt, CachePolicy, Call, Candidate, Reply
from tests.gateway.cache.specimens import MANAGED, REPLY

END = 1_000.0


@pytest.mark.parametrize(
    ("now", "draw", "age"),
    [
        (END - 10, 0.5, rules.HIT),
        (END - 10, math.exp(-2.5), rules.REFRESHING),  # 4 s * -ln(draw) = 10 s: that early
        (END - 10, math.exp(-2.4), rules.HIT),
        (END - 0.001, 1.0, rules.HIT),
        (END, 1.0, rules.AGED),
        (END + 29.9, 1.0, rules.AGED),
        (END + 30, 1.0, rules.EXPIRED),
    ],
)
def test_age(now: float, draw: float, age: str) -> None:
    assert rules.age(now=now, expires_at=END, aged_until=END + 30, made_in=2.0, beta=2.0, draw=draw) == age


@pytest.mark.parametrize(("made_in", "beta"), [(0.0, 1.0), (2.0, 0.0)])
def test_never_early_where_it_is_switched_off_or_nobody_knows_how_long_it_takes(made_in: float, beta: float) -> None:
    tiny = 2.0**-53
    assert rules.age(now=END - 1, expires_at=END, aged_until=END, made_in=made_in, beta=beta, draw=tiny) == rules.HIT


def test_about_one_caller_in_e_is_as_early_as_an_answer_takes() -> None:
    draws = random.Random(1)
    early = sum(
        rules.age(now=END - 2, expires_at=END, aged_until=END, made_in=2.0, beta=1.0, draw=1.0 - draws.random())
        == rules.REFRESHING
        for _ in range(10_000)
    )
    assert early / 10_000 == pytest.approx(1 / math.e, abs=0.02)


def aging(call: Call, **policy: float) -> Call:
    assert call.version is not None
    cache = structs.replace(CachePolicy(ttl=100.0, jitter=0.0, early_refresh=0.0), **policy)
    return structs.replace(call, version=structs.replace(call.version, cache=cache))


@pytest.fixture
async def managed(epochs: Epochs) -> Call:
    return structs.replace(MANAGED, epoch=await epochs.current("acme", "help"))


async def look(cache: ExactCache, call: Call) -> tuple[Reply | None, str]:
    found = await cache.find(call)
    return found.reply, found.reason


async def test_past_its_end_it_is_served_as_aged_and_redis_has_it_that_long(
    cache: ExactCache, cache_redis: Redis, clock: ManualClock, managed: Call
) -> None:
    call = aging(managed, refresh_within=50.0)
    await cache.keep(call, REPLY)
    (name,) = await cache_redis.keys()
    assert 149 < await cache_redis.ttl(name) <= 150
    clock.advance(99.0)
    assert await look(cache, call) == (REPLY, rules.HIT)
    clock.advance(50.0)
    assert await look(cache, call) == (REPLY, rules.AGED)
    clock.advance(1.0)
    assert await look(cache, call) == (None, rules.EXPIRED)


async def test_aged_and_changed_is_too_much(
    cache: ExactCache, epochs: Epochs, clock: ManualClock, managed: Call
) -> None:
    call = aging(managed, refresh_within=50.0)
    await cache.keep(call, REPLY)
    clock.advance(120.0)
    token = await epochs.begin("acme", "help")
    changed = structs.replace(call, epoch=await epochs.publish("acme", "help", token))
    found = await cache.find(changed)
    assert (found.reply, found.reason, found.candidate) == (None, rules.EXPIRED, None)


async def test_a_fallbacks_answer_is_not_served_on(cache: ExactCache, clock: ManualClock, managed: Call) -> None:
    call = aging(managed, refresh_within=50.0)
    fallen = structs.replace(REPLY, attempts=(Attempt("other", "model", 10.0, "provider_error"),))
    await cache.keep(call, fallen)
    clock.advance(60.0)
    assert await look(cache, call) == (None, rules.EXPIRED)


async def test_who_keeps_it_on_makes_it_no_younger(
    cache: ExactCache, epochs: Epochs, clock: ManualClock, managed: Call
) -> None:
    call = aging(managed, refresh_within=50.0, early_refresh=1.0)
    await cache.keep(call, structs.replace(REPLY, attempts=(Attempt("openai", "small", 3_000.0),)))
    token = await epochs.begin("acme", "help")
    changed = structs.replace(call, epoch=await epochs.publish("acme", "help", token))
    candidate = (await cache.find(changed)).candidate
    assert candidate is not None
    assert (candidate.made_in, candidate.aged_until - candidate.expires_at) == (3.0, 50.0)
    clock.advance(40.0)
    await cache.keep(changed, REPLY, candidate)
    again: Candidate | None = (await cache.find(structs.replace(changed, epoch="later"))).candidate
    assert again is not None
    assert (again.made_in, again.expires_at, again.aged_until) == (3.0, candidate.expires_at, candidate.aged_until)
