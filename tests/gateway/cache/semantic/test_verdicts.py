"""The right to serve: followed within seconds, gone with Redis, with its TTL, and with anything that is no verdict."""

import pytest
from redis.asyncio import Redis

from gateway.cache.semantic.scope import SemanticScope
from gateway.cache.semantic.verdicts import BELIEVED_FOR, TOLD_FOR, Verdict, Verdicts, publish, verdict_key
from gateway.clock import ManualClock
from gateway.storage.redis_line import RedisLine

SCOPE = SemanticScope("acme", "help", "1.0.0", "written-1:question:guards-1")
SERVING = Verdict(True, 0.9, 0.02, "serving")


@pytest.fixture
def verdicts(state_redis: Redis, clock: ManualClock) -> Verdicts:
    return Verdicts(RedisLine(state_redis, timeout=1.0), clock=clock)


async def test_what_was_never_told_is_no_verdict(verdicts: Verdicts) -> None:
    assert await verdicts.of(SCOPE) is None


async def test_a_change_is_followed_after_a_moment(verdicts: Verdicts, state_redis: Redis, clock: ManualClock) -> None:
    await publish(state_redis, SCOPE, SERVING)
    assert await verdicts.of(SCOPE) == SERVING
    demoted = Verdict(False, 0.9, 0.2, "demoted")
    await publish(state_redis, SCOPE, demoted)
    clock.advance(BELIEVED_FOR - 0.01)
    assert await verdicts.of(SCOPE) == SERVING
    clock.advance(0.01)
    assert await verdicts.of(SCOPE) == demoted


async def test_an_emptied_redis_takes_the_right_back(
    verdicts: Verdicts, state_redis: Redis, clock: ManualClock
) -> None:
    await publish(state_redis, SCOPE, SERVING)
    assert await verdicts.of(SCOPE) == SERVING
    await state_redis.flushall()
    clock.advance(BELIEVED_FOR)
    assert await verdicts.of(SCOPE) is None


async def test_a_verdict_ends_unless_the_judge_renews_it(state_redis: Redis) -> None:
    await publish(state_redis, SCOPE, SERVING)
    assert 0 < await state_redis.pttl(verdict_key(SCOPE)) <= TOLD_FOR * 1000


@pytest.mark.parametrize("told", [b"", b"yes", b'{"serving": 1}', b'{"serving": true}', b'{"threshold": 0.5}'])
async def test_what_is_no_verdict_serves_nothing(verdicts: Verdicts, state_redis: Redis, told: bytes) -> None:
    await state_redis.set(verdict_key(SCOPE), told)
    assert await verdicts.of(SCOPE) is None


@pytest.mark.parametrize("field", ["tenant", "prompt", "version", "recipe"])
async def test_another_scope_has_a_verdict_of_its_own(verdicts: Verdicts, state_redis: Redis, field: str) -> None:
    await publish(state_redis, SCOPE, SERVING)
    values = {name: getattr(SCOPE, name) for name in SCOPE.__struct_fields__} | {field: "another"}
    assert await verdicts.of(SemanticScope(**values)) is None
