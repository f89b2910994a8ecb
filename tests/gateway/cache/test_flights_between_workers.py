"""Single flight across workers, over a real Redis: several coalescers stand for several processes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.cache.coalesce import Coalescer, Left
from gateway.cache.flight_messages import PIECES, REPLY, Message, decode
from gateway.cache.leases import Lease, RedisLeases, Taken
from gateway.errors import ProviderTimeout, StreamInterrupted
from gateway.storage.redis_line import RedisLine
from gateway.storage.redis_store import connect
from gateway.types import Attempt
from tests.gateway.cache.test_coalesce import Upstream, listen, reply, ride, trail
from tests.servers import CACHE_ROLE, RedisServer, start_redis

LEASE = 0.3
KEY = "{acme|raw}:k"


class Worker:
    def __init__(self, redis: Redis, leases: RedisLeases) -> None:
        self.redis = redis
        self.leases = leases
        self.coalescer = Coalescer(leases)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("flights"), *CACHE_ROLE)
    yield server
    server.stop()


@pytest.fixture
async def workers(server: RedisServer) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as closing:
        found = []
        for number in range(4):
            redis = await closing.enter_async_context(connect(server.url, timeout=1, connections=8))
            line = RedisLine(redis, timeout=1)
            leases = RedisLeases(redis, line, instance=f"w{number}", lease_seconds=LEASE)
            await leases.start()
            closing.push_async_callback(leases.stop)
            found.append(Worker(redis, leases))
        await found[0].redis.flushall()
        yield found


async def in_line(workers: list[Worker], count: int) -> None:
    """Until ``count`` workers wait for another one's answer."""
    for _ in range(500):
        if await workers[0].redis.scard(f"py:f:{KEY}:w") >= count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("they never stood in line")


async def test_one_call_for_all_workers(workers: list[Worker]) -> None:
    upstream = Upstream()
    asking = [asyncio.create_task(ride(one.coalescer, upstream.work(), KEY)) for one in workers for _ in range(50)]
    await in_line(workers, 3)
    upstream.gate.set()
    assert {answer for answer, _ in await asyncio.gather(*asking)} == {"answer 1"}
    assert upstream.calls == 1


async def test_listeners_of_other_workers_hear_it_from_the_start(workers: list[Worker]) -> None:
    upstream = Upstream()
    first = asyncio.create_task(listen(workers[0].coalescer, upstream.work(aloud=True), KEY))
    await until_calls(upstream, 1)
    others = [asyncio.create_task(listen(one.coalescer, upstream.work(aloud=True), KEY)) for one in workers[1:]]
    await in_line(workers, 3)
    upstream.gate.set()
    assert await first == ["answer", " 1"]
    assert ["".join(heard) for heard in await asyncio.gather(*others)] == ["answer 1"] * 3
    assert upstream.calls == 1


@pytest.mark.parametrize("aloud", [False, True])
async def test_a_dead_leader_is_followed_by_one_other(workers: list[Worker], aloud: bool) -> None:
    dead, living = workers[0], workers[1:]
    hanging, upstream = Upstream(), Upstream()
    upstream.calls = 41
    upstream.gate.set()
    lost = asyncio.create_task(ride(dead.coalescer, hanging.work(), KEY))
    await until_calls(hanging, 1)
    take = listen if aloud else ride
    others = [asyncio.create_task(take(one.coalescer, upstream.work(aloud=aloud), KEY)) for one in living]
    await in_line(workers, 3)
    await dead.leases.stop()  # neither renews nor says anything any more
    heard = await asyncio.gather(*others)
    assert upstream.calls == 42
    assert {"".join(one) if aloud else one[0] for one in heard} == {"answer 42"}
    lost.cancel()


async def test_a_living_leader_keeps_its_lease_however_long_it_takes(workers: list[Worker]) -> None:
    upstream = Upstream()
    asking = [asyncio.create_task(ride(one.coalescer, upstream.work(), KEY)) for one in workers]
    await in_line(workers, 3)
    await asyncio.sleep(3 * LEASE)
    upstream.gate.set()
    await asyncio.gather(*asking)
    assert upstream.calls == 1


async def test_a_leader_whose_caller_leaves_works_on_for_the_others(workers: list[Worker]) -> None:
    upstream = Upstream()
    seat = workers[0].coalescer.board(KEY, upstream.work(), trail())
    await until_calls(upstream, 1)
    follower = asyncio.create_task(ride(workers[1].coalescer, upstream.work(), KEY))
    await in_line(workers, 1)
    await until_listeners(workers[0])
    assert await seat.leave() is Left.GOES_ON_ELSEWHERE
    upstream.gate.set()
    assert (await follower)[0] == "answer 1"
    assert (upstream.calls, upstream.cancelled) == (1, 0)


async def test_an_error_is_told_to_all(workers: list[Worker]) -> None:
    error = ProviderTimeout("too slow", provider="openai", model="small", retry_after=3)
    error.attempts = (Attempt("openai", "small", 10.0, "provider_timeout"),)
    upstream = Upstream()
    asking = [asyncio.create_task(ride(one.coalescer, upstream.work(error=error), KEY)) for one in workers]
    await in_line(workers, 3)
    upstream.gate.set()
    for outcome in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(outcome, ProviderTimeout)
        assert (outcome.provider, outcome.retry_after, outcome.attempts) == ("openai", 3, error.attempts)
    assert upstream.calls == 1


async def test_who_missed_the_answer_just_before_it_landed_looks_again(workers: list[Worker]) -> None:
    upstream = Upstream()
    upstream.gate.set()
    await ride(workers[0].coalescer, upstream.work(), KEY)
    await workers[0].coalescer.settle()
    work = upstream.work()
    looked = []

    async def look() -> object:
        looked.append(1)
        return reply("answer 1")

    late = type(work)(make=work.make, keep=work.keep, look=look)  # type: ignore[arg-type]
    assert (await ride(workers[1].coalescer, late, KEY))[0] == "answer 1"
    assert (upstream.calls, looked) == (1, [1])
    assert (await ride(workers[2].coalescer, upstream.work(), KEY))[0] == "answer 2", "nothing in the cache: work"


async def test_without_redis_everybody_works_alone(server: RedisServer) -> None:
    async with connect("redis://127.0.0.1:1/0", timeout=0.2, connections=2) as redis:
        leases = RedisLeases(redis, RedisLine(redis, timeout=0.2), instance="lonely")
        upstream = Upstream()
        upstream.gate.set()
        assert await ride(Coalescer(leases), upstream.work(), KEY) == ("answer 1", True)


async def test_foreign_messages_are_not_believed(workers: list[Worker]) -> None:
    upstream = Upstream()
    leader = asyncio.create_task(ride(workers[0].coalescer, upstream.work(), KEY))
    await until_calls(upstream, 1)
    follower = asyncio.create_task(ride(workers[1].coalescer, upstream.work(), KEY))
    await in_line(workers, 1)
    for junk in (b"", b"\xc1", b"\x93\xa5reply", b'{"kind": "reply"}'):
        assert decode(junk) is None
        await workers[2].redis.publish("py:flights:w1", junk)
    await workers[2].redis.publish("py:flights:w1", b"\x94\xa5reply\xad{acme|raw}:k\x01\x00")
    upstream.gate.set()
    assert (await follower)[0] == (await leader)[0] == "answer 1"


async def until_calls(upstream: Upstream, calls: int) -> None:
    async with asyncio.timeout(5):
        while upstream.calls < calls:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def until_listeners(worker: Worker) -> None:
    held = worker.leases._held
    async with asyncio.timeout(5):
        while not held[KEY].listeners:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Elsewhere:
    """Leases of a worker that never leads: what others tell it is told by the test."""

    def __init__(self) -> None:
        self.hear: Callable[[Message], None] = lambda message: None

    def listen(self, hear: Callable[[Message], None]) -> None:
        self.hear = hear

    async def ask(self, flight: str, *, landed_too: bool = False) -> Taken:
        return Taken(60.0, holder="another")

    async def leave(self, lease: Lease, *, landed: bool) -> set[str]:
        return set()

    def tell(self, channels: set[str], message: Message) -> None:
        pass


@pytest.mark.parametrize(
    "second",
    [
        [(0, ["B0 "]), (1, ["B1 "]), (2, ["B2 "])],
        [(0, ["B0 ", "B1 ", "B2 "])],
        [(0, ["A0 A1 ", "A2 ", "A3 "])],
        [(0, ["A0 A1 A2 "]), (1, ["A3 "]), (2, ["A4 "])],
    ],
    ids=["another text, piece by piece", "another text at once", "cut otherwise", "cut otherwise, piece by piece"],
)
@pytest.mark.parametrize("lands", [True, False])
async def test_pieces_of_two_leaders_are_never_mixed(second: list[tuple[int, list[str]]], lands: bool) -> None:
    """A lease that ran out has a second holder, and its answer may be another one, or the same in other pieces."""
    leases = Elsewhere()
    coalescer = Coalescer(leases)
    seat = coalescer.board(KEY, Upstream().work(aloud=True), trail())
    for _ in range(5):
        await asyncio.sleep(0)
    for position, texts in [(0, ["A0 ", "A1 "]), *second]:
        pieces = [{"delta": {"content": text}} for text in texts]
        leases.hear(Message(PIECES, KEY, pieces, position))
    leases.hear(Message(REPLY, KEY, msgspec.to_builtins(reply("A0 A1 A2 A3" if lands else "B0 B1 B2"))))
    heard = []
    try:
        async for piece in seat.flight.aloud():
            heard.append(piece.delta.get("content", ""))
    except StreamInterrupted:
        assert not lands
        assert "".join(heard) == "A0 A1 "
    else:
        assert lands
        assert "".join(heard) == "A0 A1 A2 A3"
    await seat.leave()
    await coalescer.settle()
