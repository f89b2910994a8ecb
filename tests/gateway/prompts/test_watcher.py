"""Where a gateway's routing table comes from, and what it does with one that it cannot read."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable
from gateway.prompts.router import Router
from gateway.prompts.routing_store import (
    CHANGED_CHANNEL,
    HEARTBEAT_PREFIX,
    REMEMBERED,
    ROUTING_KEY,
    UNSEEN,
    RoutingStore,
)
from gateway.prompts.watcher import Watcher
from gateway.settings import SqlSettings
from gateway.storage.engine import make_engine, writing
from gateway.storage.models import RoutingRow
from gateway.storage.redis_store import connect
from gateway.types import RoutingTable
from tests.servers import free_port

pytestmark = pytest.mark.integration

Watching = Callable[..., AbstractAsyncContextManager[Watcher]]


async def soon(true: Callable[[], bool], within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"not within {within} s"
        await asyncio.sleep(0.005)


@pytest.fixture
def sql(ledger_url: str) -> Engine:
    return make_engine(ledger_url)


@pytest.fixture
def router() -> Router:
    return Router()


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return tmp_path / "home" / "routing.json"


@pytest.fixture
def swapped() -> list[int]:
    return []


@pytest.fixture
def watching(redis: Redis, sql: Engine, router: Router, snapshot: Path, swapped: list[int]) -> Watching:
    @asynccontextmanager
    async def watch(*, interval: float = 0.02, redis: Redis = redis, sql: Engine = sql) -> AsyncIterator[Watcher]:
        watcher = Watcher(
            router,
            RoutingStore(redis),
            redis,
            sql,
            instance="gateway-1",
            snapshot=snapshot,
            interval=interval,
            on_swap=lambda table: swapped.append(table.revision),
        )
        await watcher.start()
        yield watcher
        await watcher.stop()

    return watch


def keep_in_sql(engine: Engine, table: RoutingTable) -> None:
    with writing(engine) as session:
        session.merge(
            RoutingRow(id=1, revision=table.revision, body=msgspec.to_builtins(table), published_at=table.published_at)
        )


def keep_on_disk(snapshot: Path, content: bytes) -> None:
    snapshot.parent.mkdir(parents=True)
    snapshot.write_bytes(content)


@asynccontextmanager
async def no_redis() -> AsyncIterator[Redis]:
    client = connect(f"redis://127.0.0.1:{free_port()}/0", timeout=0.2, connections=4)
    yield client
    await client.aclose()


async def test_a_first_start_has_nothing_and_complains_of_nothing(
    watching: Watching, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching() as watcher:
        assert router.table.revision == 0
        assert watcher.refused == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def soon_listening(redis: Redis) -> None:
    for _ in range(1000):
        if dict(await redis.pubsub_numsub(CHANGED_CHANNEL)).get(CHANGED_CHANNEL.encode()):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("nobody listens")


async def test_an_announced_table_is_taken_at_once(
    watching: Watching, router: Router, redis: Redis, store: RoutingStore
) -> None:
    async with watching(interval=60):  # only the announcement can be this fast
        await soon_listening(redis)
        await store.publish(RoutingTable(revision=3))
        await soon(lambda: router.table.revision == 3, within=1.0)
        assert await store.wait_until_live(3, patience=1.0) == {}
        assert await store.live() == {"gateway-1": 3}
    assert await store.live() == {}


async def test_whoever_fell_quiet_a_moment_ago_is_waited_for_but_not_for_long(
    redis: Redis, store: RoutingStore
) -> None:
    """The Redis itself may have kept it from being seen."""
    loop = asyncio.get_running_loop()
    await redis.set(HEARTBEAT_PREFIX + "quiet", 1, px=int(REMEMBERED * 1000) - 1)
    waiting = asyncio.create_task(store.wait_until_live(2, patience=5.0))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await store.beat("quiet", 2, 3.0)
    assert await waiting == {}
    await redis.set(HEARTBEAT_PREFIX + "dead", 1, px=int(REMEMBERED * 1000) - 1)
    begun = loop.time()
    assert await store.wait_until_live(2, patience=5.0) == {}
    assert UNSEEN <= loop.time() - begun < 5.0
    assert await store.live() == {"quiet": 2}


class Deaf(RoutingStore):
    """Its heartbeats are lost as long as ``deaf`` says so."""

    deaf, heard = True, False

    async def beat(self, instance: str, revision: int, ttl: float) -> None:
        if self.deaf:
            raise StorageUnavailable("not now")
        await super().beat(instance, revision, ttl)
        self.heard = True


async def test_a_heartbeat_that_got_lost_is_repeated_at_the_next_look(
    redis: Redis, sql: Engine, router: Router, snapshot: Path
) -> None:
    store = Deaf(redis)
    watcher = Watcher(router, store, redis, sql, instance="g", snapshot=snapshot, heartbeat_ttl=600.0, interval=0.01)
    await watcher.start()
    assert await store.live() == {}
    store.deaf = False
    await soon(lambda: store.heard)
    assert "g" in await store.live()
    await watcher.stop()


class PublishedMeanwhile(RoutingStore):
    """A table is published just before the first heartbeat: its publisher waits for nobody whom it cannot see."""

    async def beat(self, instance: str, revision: int, ttl: float) -> None:
        if not await self.live():
            await self.publish(RoutingTable(revision=9))
        await super().beat(instance, revision, ttl)


async def test_a_table_that_came_before_the_first_heartbeat_serves_from_the_first_call(
    redis: Redis, sql: Engine, router: Router, snapshot: Path
) -> None:
    watcher = Watcher(
        router, PublishedMeanwhile(redis), redis, sql, instance="gateway-1", snapshot=snapshot, interval=60
    )
    await watcher.start()
    assert router.table.revision == 9
    await watcher.stop()


async def test_whose_heartbeat_has_lapsed_looks_again_before_it_serves_on(
    redis: Redis, sql: Engine, router: Router, snapshot: Path, store: RoutingStore
) -> None:
    clock = ManualClock()
    watcher = Watcher(
        router, store, redis, sql, instance="gateway-1", snapshot=snapshot, interval=60, monotonic=clock.monotonic
    )
    await watcher.start()
    assert router.lease.until == clock.monotonic() + 3
    await redis.delete(HEARTBEAT_PREFIX + "gateway-1")  # nobody waits for it any more
    await redis.hset(ROUTING_KEY, mapping={"revision": 2, "table": msgspec.json.encode(RoutingTable(revision=2))})
    clock.advance(3.1)
    await asyncio.gather(*(router.lease.renew() for _ in range(3)))
    assert (router.table.revision, router.lease.until) == (2, clock.monotonic() + 3)
    assert await store.live() == {"gateway-1": 2}
    await watcher.stop()


async def test_without_redis_the_table_is_believed_on(sql: Engine, router: Router, snapshot: Path) -> None:
    clock = ManualClock()
    async with no_redis() as redis:
        watcher = Watcher(
            router, RoutingStore(redis), redis, sql, instance="g", snapshot=snapshot, monotonic=clock.monotonic
        )
        await watcher.start()
        assert router.lease.until == clock.monotonic() + 3
        await watcher.stop()


async def test_a_missed_announcement_costs_one_interval(
    watching: Watching, router: Router, redis: Redis, store: RoutingStore
) -> None:
    async with watching():
        await redis.hset(ROUTING_KEY, mapping={"revision": 2, "table": msgspec.json.encode(RoutingTable(revision=2))})
        await soon(lambda: router.table.revision == 2, within=1.0)


async def test_sql_alone_is_enough(watching: Watching, router: Router, sql: Engine, swapped: list[int]) -> None:
    async with no_redis() as away, watching(redis=away):
        keep_in_sql(sql, RoutingTable(revision=4))
        await soon(lambda: router.table.revision == 4)
    assert swapped == [4]


async def test_without_redis_and_sql_the_copy_on_disk_serves(
    watching: Watching, router: Router, swapped: list[int], store: RoutingStore, tmp_path: Path
) -> None:
    async with watching():
        await store.publish(RoutingTable(revision=7))
        await soon(lambda: router.table.revision == 7)
    router.__init__()  # type: ignore[misc]  # a new process
    swapped.clear()
    nowhere = make_engine(f"sqlite:///{tmp_path}/no/such/folder/ledger.db", SqlSettings(sql_timeout=0.2))
    async with no_redis() as away, watching(redis=away, sql=nowhere) as watcher:
        assert router.table.revision == 7
        assert swapped == [7]
        assert watcher.refused == 0


async def test_sql_is_the_truth_and_not_an_old_copy_of_another_database(
    watching: Watching, router: Router, sql: Engine, snapshot: Path
) -> None:
    keep_on_disk(snapshot, msgspec.json.encode(RoutingTable(revision=99)))
    keep_in_sql(sql, RoutingTable(revision=1))
    async with watching():
        assert router.table.revision == 1
    assert b'"revision":1,' in await asyncio.to_thread(snapshot.read_bytes)


@pytest.mark.parametrize("content", [b"", b"{", b'{"revision": "x"}', b'{"routes": [{}]}', b"\xff"])
async def test_a_broken_copy_on_disk_is_refused(
    watching: Watching, router: Router, snapshot: Path, content: bytes, tmp_path: Path
) -> None:
    keep_on_disk(snapshot, content)
    nowhere = make_engine(f"sqlite:///{tmp_path}/no/such/folder/ledger.db", SqlSettings(sql_timeout=0.2))
    async with no_redis() as away, watching(redis=away, sql=nowhere) as watcher:
        assert router.table.revision == 0
        assert watcher.refused == 1


@pytest.mark.parametrize("revision", [b"5", b"not a number"])
@pytest.mark.parametrize("running", [True, False], ids=["while running", "at the start"])
async def test_a_broken_table_is_refused_once_and_the_last_good_one_serves(
    watching: Watching,
    router: Router,
    redis: Redis,
    sql: Engine,
    store: RoutingStore,
    caplog: pytest.LogCaptureFixture,
    running: bool,
    revision: bytes,
) -> None:
    keep_in_sql(sql, RoutingTable(revision=1))

    async def break_it() -> None:
        await redis.hset(ROUTING_KEY, mapping={"revision": revision, "table": b'{"revision": 5, "routes": [{"x": 1}]}'})

    if not running:
        await break_it()
    async with watching(interval=0.005) as watcher:
        if running:
            await break_it()
        await soon(lambda: watcher.refused == 1)
        for _ in range(20):  # it looks again and again, and does not fill the log
            await watcher.refresh(also_sql=False)
        assert watcher.refused == 1
        assert router.table.revision == 1
        assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
        await redis.delete(ROUTING_KEY)
        await store.publish(RoutingTable(revision=6))
        await soon(lambda: router.table.revision == 6)


async def test_another_type_under_the_key_is_trouble_and_no_end(
    watching: Watching, router: Router, redis: Redis, sql: Engine
) -> None:
    await redis.set(ROUTING_KEY, "text")
    keep_in_sql(sql, RoutingTable(revision=2))
    async with watching():
        assert router.table.revision == 2


async def test_an_older_table_turns_no_time_back(watching: Watching, router: Router, store: RoutingStore) -> None:
    async with watching() as watcher:
        await store.publish(RoutingTable(revision=5))
        assert await store.publish(RoutingTable(revision=4)) is False
        await watcher.refresh(also_sql=True)
        assert router.table.revision == 5


async def test_it_stops_whenever_it_is_asked_to(watching: Watching) -> None:
    for turns in range(25):  # in the middle of a look, of a wait, of an announcement
        async with asyncio.timeout(5), watching(interval=0.001):
            for _ in range(turns):
                await asyncio.sleep(0)
