"""What callers of one event loop share: batches, errors that belong to one command, trouble that belongs to all."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.storage.redis_line import MAX_WAITING, RedisLine, Script
from gateway.storage.redis_store import REDIS_TROUBLE, connect
from tests.servers import CACHE_ROLE, RedisServer, let_the_loop_notice, start_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("line-redis"), *CACHE_ROLE)
    yield server
    server.stop()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with connect(server.url, timeout=1, connections=8) as redis:
        await redis.flushall()
        yield redis


@pytest.fixture
def line(redis: Redis) -> RedisLine:
    return RedisLine(redis, timeout=1)


async def test_each_caller_gets_its_own_reply(line: RedisLine) -> None:
    await asyncio.gather(*(line.ask("SET", f"k{n}", f"v{n}") for n in range(2_000)))
    assert await asyncio.gather(*(line.ask("GET", f"k{n}") for n in range(2_000))) == [b"v%d" % n for n in range(2_000)]


async def test_what_is_asked_in_one_tick_goes_out_together(line: RedisLine, redis: Redis) -> None:
    await line.ask("PING")
    before = (await redis.info("clients"))["connected_clients"]
    await asyncio.gather(*(line.ask("INCR", "n") for _ in range(500)))
    assert (await redis.info("clients"))["connected_clients"] == before
    assert int(await line.ask("GET", "n")) == 500


async def test_an_error_belongs_to_its_command(line: RedisLine) -> None:
    await line.ask("SET", "text", "a")
    replies = await asyncio.gather(
        line.ask("GET", "text"), line.ask("INCR", "text"), line.ask("GET", "text"), return_exceptions=True
    )
    assert replies[0] == replies[2] == b"a"
    assert isinstance(replies[1], ResponseError)


async def test_a_script_that_the_server_does_not_know_is_sent_along(line: RedisLine, redis: Redis) -> None:
    script = Script("return ARGV[1] .. KEYS[1]")
    assert await asyncio.gather(*(line.run(script, ["k"], [n]) for n in range(50))) == [b"%dk" % n for n in range(50)]
    await redis.script_flush()
    assert await line.run(script, ["k"], ["again"]) == b"againk"


async def test_a_caller_who_leaves_takes_nobody_else_along(line: RedisLine) -> None:
    await line.ask("SET", "a", "1")
    left, stayed = line.ask("GET", "a"), line.ask("GET", "a")
    left.cancel()
    assert await stayed == b"1"


async def test_a_connection_that_the_server_closed_is_replaced_unnoticed(line: RedisLine, redis: Redis) -> None:
    await line.ask("SET", "a", "1")
    await redis.client_kill_filter(_type="normal", skipme=True)
    await let_the_loop_notice()
    assert await line.ask("GET", "a") == b"1"


async def test_a_server_that_is_silent_costs_one_time_out_for_all(server: RedisServer) -> None:
    async with connect(server.url, timeout=1, connections=8) as redis:
        line = RedisLine(redis, timeout=0.2)
        await line.ask("PING")
        server.pause()
        try:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            replies = await asyncio.gather(*(line.ask("GET", "a") for _ in range(100)), return_exceptions=True)
            assert all(isinstance(reply, REDIS_TROUBLE) for reply in replies)
            assert loop.time() - begun < 1.0
        finally:
            server.resume()
        assert await line.ask("PING") == b"PONG"


async def test_nothing_is_served_and_nothing_hangs_without_a_server() -> None:
    async with connect("redis://127.0.0.1:1/0", timeout=0.2, connections=2) as redis:
        line = RedisLine(redis, timeout=0.2)
        for _ in range(3):
            with pytest.raises(REDIS_TROUBLE):
                await line.ask("GET", "a")


async def test_replies_come_in_order_whatever_was_asked_when(line: RedisLine) -> None:
    """A value that was set is what the next tick reads, though nobody waited for the first reply."""
    replies = []
    for n in range(50):
        line.ask("SET", "k", n)
        await asyncio.sleep(0)
        replies.append(line.ask("GET", "k"))
    assert await asyncio.gather(*replies) == [b"%d" % n for n in range(50)]


async def test_what_is_not_hurried_goes_with_the_next_command_and_before_it(
    line: RedisLine, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.storage.redis_line.UNHURRIED", 60.0)
    append = Script("return redis.call('RPUSH', KEYS[1], ARGV[1])")
    await line.run(append, ["order"], ["0"])
    later = line.run(append, ["order"], ["later"], hurried=False)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await redis.lrange("order", 0, -1) == [b"0"], "nobody waits for it"
    assert await line.ask("LRANGE", "order", 0, -1) == [b"0", b"later"]
    assert later.done()


async def test_what_is_not_hurried_goes_alone_if_nothing_follows(line: RedisLine) -> None:
    append = Script("return redis.call('RPUSH', KEYS[1], ARGV[1])")
    alone = [line.run(append, ["alone"], [n], hurried=False) for n in range(3)]
    assert await asyncio.gather(*alone) == [1, 2, 3]


async def test_a_script_keeps_its_place_in_the_line_also_the_first_time(line: RedisLine, redis: Redis) -> None:
    await redis.script_flush()
    line.run(Script("return redis.call('SET', KEYS[1], ARGV[1])"), ["place"], ["by the script"])
    assert await line.ask("GET", "place") == b"by the script"


async def test_large_values_come_whole(line: RedisLine) -> None:
    value = b"x" * 3_000_000
    await line.ask("SET", "large", value)
    replies = await asyncio.gather(*(line.ask("GET", "large") for _ in range(5)), line.ask("PING"))
    assert replies == [value] * 5 + [b"PONG"]


async def test_what_cannot_be_sent_fails_alone(line: RedisLine) -> None:
    bad, good = line.ask("GET", {"no": "argument"}), line.ask("PING")  # type: ignore[arg-type]
    assert await good == b"PONG"
    with pytest.raises(REDIS_TROUBLE):
        await bad


async def test_who_is_asked_while_the_server_dies_is_told_and_the_next_one_is_served(redis: Redis) -> None:
    line = RedisLine(redis, timeout=1)
    await line.ask("PING")
    cut = line.ask("BLPOP", "nothing", 0)
    await let_the_loop_notice()
    await redis.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(REDIS_TROUBLE):
        await cut
    assert await line.ask("PING") == b"PONG"


async def test_the_pool_closes_although_the_line_holds_a_connection(server: RedisServer) -> None:
    redis = connect(server.url, timeout=1, connections=2)
    line = RedisLine(redis, timeout=1)
    await line.ask("PING")
    async with asyncio.timeout(2):
        await redis.aclose()


async def test_the_queue_is_bounded(line: RedisLine) -> None:
    asked = [line.ask("PING") for _ in range(MAX_WAITING + 5)]
    replies = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(reply, Exception) for reply in replies) == 5
