"""A line to a real cluster: each node's part of a tick, keys that move, nodes that die, epochs that move with them."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.cache.epochs import Epochs
from gateway.cache.memory import read_memory
from gateway.clock import SystemClock
from gateway.storage.cluster_client import slot_of
from gateway.storage.cluster_line import LOOK_EVERY
from gateway.storage.each_server import servers_of
from gateway.storage.line import Line, line_for
from gateway.storage.redis_line import Script
from gateway.storage.redis_store import GENERATION_KEY, REDIS_TROUBLE, connect
from tests.redis_cluster import Cluster, redis_cluster

pytestmark = pytest.mark.integration

PARTIAL = ("--cluster-require-full-coverage", "no")
TIMEOUT = 1.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with redis_cluster(tmp_path_factory.mktemp("cluster"), *PARTIAL) as running:
        yield running


@pytest.fixture
async def redis(cluster: Cluster) -> AsyncIterator[Redis]:
    redis = connect(cluster.url, timeout=TIMEOUT, connections=8, guarded=True)
    yield redis
    await redis.aclose()


@pytest.fixture
def line(redis: Redis) -> Line:
    return line_for(redis, timeout=TIMEOUT)


async def test_each_caller_gets_its_own_reply_from_whichever_node_has_it(line: Line, redis: Redis) -> None:
    await asyncio.gather(*(line.ask("SET", f"k{n}", f"v{n}") for n in range(1_000)))
    assert await asyncio.gather(*(line.ask("GET", f"k{n}") for n in range(1_000))) == [b"v%d" % n for n in range(1_000)]
    counts = []
    for server in await servers_of(redis):
        counts.append(sum([len(names) async for names in server.names("k*", 100)]))
    assert sum(counts) == 1_000
    assert min(counts) > 200  # all three have a part
    assert (await read_memory(redis, TIMEOUT)).servers == 3


async def test_scripts_run_where_their_keys_are_and_errors_belong_to_their_command(line: Line) -> None:
    script = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert await asyncio.gather(*(line.run(script, [f"n{n}"], [n]) for n in range(50))) == list(range(50))
    await line.ask("SET", "{one}text", "a")
    replies = await asyncio.gather(
        line.run(script, ["{one}text"], [1]), line.ask("GET", "{one}text"), return_exceptions=True
    )
    assert isinstance(replies[0], ResponseError)
    assert replies[1] == b"a"


async def test_keys_that_have_moved_are_found_by_those_who_do_not_know_yet(cluster: Cluster, line: Line) -> None:
    key = "{wanderer}"
    slot = slot_of(key)
    await line.ask("SET", key, "1")
    home, away = cluster.owner(slot), next(one for one in cluster.masters if one is not cluster.owner(slot))
    await asyncio.to_thread(cluster.move_slot, slot, away)
    assert await line.ask("GET", key) == b"1"
    assert await line.run(Script("return redis.call('INCR', KEYS[1])"), [key], []) == 2
    assert await line.ask("GET", key) == b"2"
    assert home is not away


async def test_a_key_on_its_way_is_asked_for_where_it_is(cluster: Cluster, line: Line) -> None:
    key = "{traveller}"
    slot = slot_of(key)
    await line.ask("SET", key, "1")
    away = next(one for one in cluster.masters if one is not cluster.owner(slot))
    await asyncio.to_thread(cluster.move_slot, slot, away, finish=False)
    assert await line.ask("GET", key) == b"1"
    assert await line.run(Script("return redis.call('INCR', KEYS[1])"), [key], []) == 2
    assert await line.ask("GET", "{traveller}other") is None


async def test_without_any_node_it_fails_within_the_time_out() -> None:
    redis = connect("redis+cluster://127.0.0.1:1,127.0.0.1:2", timeout=0.2, connections=2)
    line = line_for(redis, timeout=0.2)
    async with asyncio.timeout(2):
        for _ in range(3):
            replies = await asyncio.gather(*(line.ask("GET", "a") for _ in range(50)), return_exceptions=True)
            assert all(isinstance(reply, REDIS_TROUBLE) for reply in replies)
    await redis.aclose()


async def test_what_is_published_at_one_node_is_heard_at_all(cluster: Cluster, line: Line) -> None:
    listener = connect(cluster.url, timeout=TIMEOUT, connections=8)  # nobody has asked it for anything yet
    for channel in ("a", "b", "c"):
        async with listener.pubsub() as heard:
            await heard.subscribe(channel)
            assert (await heard.get_message(timeout=5))["type"] == "subscribe"
            await line.ask("PUBLISH", channel, "told")
            assert (await heard.get_message(timeout=5))["data"] == b"told"
    await listener.aclose()


async def test_when_a_node_dies_the_others_go_on_and_it_is_found_again(cluster: Cluster, line: Line) -> None:
    keys = [f"d{n}" for n in range(200)]
    await asyncio.gather(*(line.ask("SET", key, "1") for key in keys))
    dead = cluster.masters[0]
    dead.kill()
    try:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        replies = await asyncio.gather(*(line.ask("GET", key) for key in keys), return_exceptions=True)
        assert loop.time() - begun < 2 * TIMEOUT
        for key, reply in zip(keys, replies, strict=True):
            if cluster.owner(slot_of(key)) is dead:
                assert isinstance(reply, REDIS_TROUBLE)
            else:
                assert reply == b"1"
    finally:
        dead.start()
    async with asyncio.timeout(10):
        while True:
            replies = await asyncio.gather(*(line.ask("GET", key) for key in keys), return_exceptions=True)
            if not any(isinstance(reply, Exception) for reply in replies):
                break
            await asyncio.sleep(0.02)  # the node is up and learns from the others that it may serve


@pytest.fixture
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with redis_cluster(tmp_path_factory.mktemp("replicated"), *PARTIAL, replicas=3) as running:
        yield running


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_replica_that_takes_the_epochs_over_makes_all_that_was_cached_miss(
    replicated: Cluster, how: str
) -> None:
    redis = connect(replicated.url, timeout=TIMEOUT, connections=8, guarded=True)
    epochs = Epochs(redis, clock=SystemClock(), timeout=TIMEOUT, line=line_for(redis, timeout=TIMEOUT))
    before = await epochs.current("t", "c")
    assert before
    assert await epochs.current("t", "c") == before
    slot = slot_of(GENERATION_KEY)
    old = replicated.owner(slot)
    old.kill() if how == "kill" else old.pause()
    await asyncio.to_thread(replicated.wait_until_taken_over, slot)
    await asyncio.sleep(2 * LOOK_EVERY)  # nobody asks for anything meanwhile
    if how == "pause":
        old.resume()  # it takes itself for the master until the others have told it
    after = await epochs.current("t", "c")
    assert after not in ("", before)
    token = await epochs.begin("t", "c")
    assert await epochs.current("t", "c") == ""
    assert await epochs.publish("t", "c", token) == await epochs.current("t", "c")
    await redis.aclose()
