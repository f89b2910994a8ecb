"""Removal by name over real Redis: what a cut reaches, and what it does not."""

import pytest
from redis.asyncio import Redis

from gateway.cache.cuts import UNKNOWN, Cuts
from gateway.errors import StorageUnavailable
from gateway.storage.redis_store import RUN_ID_KEY, connect
from tests.gateway.cache.conftest import TIMEOUT

HELP = ("acme", "help", "1.0.0", ("prices", "terms"))


@pytest.fixture
def cuts(state_redis: Redis) -> Cuts:
    return Cuts(state_redis, timeout=TIMEOUT)


@pytest.mark.parametrize(
    ("removed", "reached"),
    [
        ({}, True),
        ({"prompt": "help"}, True),
        ({"prompt": "help", "version": "1.0.0"}, True),
        ({"tag": "terms"}, True),
        ({"prompt": "hel"}, False),
        ({"prompt": "help", "version": "1.0.1"}, False),
        ({"tag": "help"}, False),
        ({"tag": "other"}, False),
    ],
)
async def test_a_cut_reaches_its_name_and_no_other(cuts: Cuts, removed: dict[str, str], reached: bool) -> None:
    before, others = await cuts.current(*HELP), await cuts.current("other", *HELP[1:])
    assert before == await cuts.current(*HELP) != UNKNOWN
    await cuts.cut("acme", **removed)
    assert (await cuts.current(*HELP) != before) is reached
    assert await cuts.current("other", *HELP[1:]) == others


async def test_a_call_without_prompt_goes_with_its_tenant(cuts: Cuts) -> None:
    raw = await cuts.current("acme")
    await cuts.cut("acme", prompt="help")
    assert await cuts.current("acme") == raw
    await cuts.cut("acme")
    assert await cuts.current("acme") != raw


async def test_a_state_that_was_lost_is_another_one(cuts: Cuts, state_redis: Redis) -> None:
    seen = {await cuts.current(*HELP)}
    await cuts.cut("acme")
    seen.add(await cuts.current(*HELP))
    await state_redis.flushall()
    seen.add(await cuts.current(*HELP))
    await state_redis.set(RUN_ID_KEY, "an earlier run")  # an older file was read back
    await state_redis.connection_pool.disconnect()
    await state_redis.ping()
    seen.add(await Cuts(state_redis, timeout=TIMEOUT).current(*HELP))
    assert len(seen) == 4


async def test_without_redis_nothing_is_known_and_no_cut_is_acknowledged() -> None:
    async with connect("redis://127.0.0.1:1/0", timeout=0.2, connections=2) as nobody:
        away = Cuts(nobody, timeout=0.2)
        assert await away.current(*HELP) == UNKNOWN
        with pytest.raises(StorageUnavailable):
            await away.cut("acme", tag="prices")


async def test_a_version_needs_its_prompt(cuts: Cuts) -> None:
    with pytest.raises(ValueError, match="prompt"):
        await cuts.cut("acme", version="1.0.0")
