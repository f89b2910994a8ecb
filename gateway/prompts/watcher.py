"""Keeps a gateway's router current: Redis first, SQL behind it, the last copy on disk at the start."""

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from redis.asyncio import Redis
from sqlalchemy import Engine, select

from gateway.errors import StorageUnavailable
from gateway.prompts.projection import read_routing
from gateway.prompts.router import Router
from gateway.prompts.routing_store import CHANGED_CHANNEL, TROUBLE, RoutingStore
from gateway.storage.engine import reading
from gateway.storage.models import RoutingRow
from gateway.types import RoutingTable

log = logging.getLogger(__name__)


class Watcher:
    """Swaps the router's table within ``interval`` seconds of a change, usually at once by the announcement.

    A table that cannot be read is counted in ``refused`` and the last good one serves on.
    """

    def __init__(
        self,
        router: Router,
        store: RoutingStore,
        redis: "Redis",
        engine: Engine,
        *,
        instance: str,
        snapshot: Path,
        heartbeat_ttl: float = 3.0,
        interval: float = 0.25,
        on_swap: Callable[[RoutingTable], None] = lambda table: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._store = store
        self._redis = redis
        self._engine = engine
        self._instance = instance
        self._snapshot = snapshot
        self._ttl = heartbeat_ttl
        self._interval = interval
        self._on_swap = on_swap
        self._monotonic = monotonic
        self._renewing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._last_refusal = ("", "")
        self.refused = 0

    async def start(self) -> None:
        """Load a table from the first source that has one, then follow changes.

        The copy on disk counts only while SQL, which is the truth, cannot be asked: it may be of another database.
        """
        if not await self._take_from_sql():
            self._load_snapshot()
        self._router.lease.until = -math.inf
        await self._renew(also_sql=False)
        self._router.lease.renew = self._renew_if_lapsed
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._listen())]

    async def stop(self) -> None:
        pending = set(self._tasks)
        while pending:  # a cancellation that meets the end of a wait inside of a library may be lost: ask again
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)
        with contextlib.suppress(StorageUnavailable):
            await self._store.leave(self._instance)

    async def _renew(self, *, also_sql: bool) -> bool:
        """Be seen, then look: whoever publishes from now on waits for this gateway, and what came before is found.

        Returns whether it was seen.
        """
        begun = self._monotonic()
        try:
            seen = await self._beat()
            if not seen:
                begun = self._monotonic()  # nobody could be seen: what is published comes by SQL
            known = self._router.table.revision
            await self.refresh(also_sql=also_sql)
            if self._router.table.revision != known:
                seen = await self._beat()
            return seen
        finally:
            self._router.lease.until = max(self._router.lease.until, begun + self._ttl)

    async def _renew_if_lapsed(self) -> None:
        async with self._renewing:
            if self._monotonic() <= self._router.lease.until:
                return  # another call has
            log.warning("stood still for longer than a heartbeat lives: looking for a newer routing table")
            try:
                await self._renew(also_sql=False)
            except Exception:  # the call is served by the last good table
                log.exception("looking for a new routing table failed")

    async def refresh(self, *, also_sql: bool) -> None:
        """One look at the sources; takes the newest table it finds."""
        try:
            if await self._store.revision() > self._router.table.revision:
                await self._take_from_redis()
        except StorageUnavailable:
            also_sql = True
        except msgspec.DecodeError as error:
            self._refuse("Redis", error)
        if also_sql:
            await self._take_from_sql()

    async def _take_from_redis(self) -> None:
        try:
            table = await self._store.load()
        except msgspec.DecodeError as error:
            self._refuse("Redis", error)
            return
        if table:
            self._swap(table)

    async def _take_from_sql(self) -> bool:
        """Whether SQL could be asked."""
        try:
            table = await asyncio.to_thread(self._read_sql, self._router.table.revision)
        except StorageUnavailable:
            return False
        except Exception as error:  # a broken row must not end the watch
            self._refuse("SQL", error)
            return False
        if table:
            self._swap(table)
        return True

    def _read_sql(self, known: int) -> RoutingTable | None:
        with reading(self._engine) as session:
            revision = session.scalar(select(RoutingRow.revision).where(RoutingRow.id == 1))
            return read_routing(session) if revision is not None and revision > known else None

    def _swap(self, table: RoutingTable) -> None:
        if table.revision == self._router.table.revision or not self._router.swap(table):
            return
        log.info("serving by routing revision %d (%d prompts)", table.revision, len(table.routes))
        self._on_swap(table)
        self._save_snapshot(table)

    def _load_snapshot(self) -> None:
        try:
            self._swap(msgspec.json.decode(self._snapshot.read_bytes(), type=RoutingTable))
        except FileNotFoundError:
            return
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            self._refuse("the copy on disk", error)

    def _save_snapshot(self, table: RoutingTable) -> None:
        draft = self._snapshot.with_suffix(f".{os.getpid()}")
        try:
            self._snapshot.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(msgspec.json.encode(table))
            draft.replace(self._snapshot)
        except OSError as error:
            log.warning("the routing table could not be kept on disk: %s", error.strerror)

    def _refuse(self, source: str, error: Exception) -> None:
        refusal = (source, str(error))
        if refusal == self._last_refusal:  # the same table at the next look
            return
        self._last_refusal = refusal
        self.refused += 1
        log.error("a routing table from %s cannot be read (%s): serving by the last good one", source, error)

    async def _beat(self) -> bool:
        """Whether others can see it."""
        try:
            await self._store.beat(self._instance, self._router.table.revision, self._ttl)
        except StorageUnavailable:
            return False
        return True

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        beat_due = sql_due = 0.0
        while True:
            before, also_sql = self._router.table.revision, loop.time() >= sql_due
            try:
                if loop.time() >= beat_due:
                    due = loop.time() + self._ttl / 3
                    if await self._renew(also_sql=also_sql):
                        beat_due = due  # otherwise at the next look: until it is seen, publishers do not know of it
                else:
                    await self.refresh(also_sql=also_sql)
                    if self._router.table.revision != before:
                        await self._beat()
            except Exception:  # the watch outlives whatever a source does
                log.exception("looking for a new routing table failed")
            if also_sql:
                sql_due = loop.time() + 4 * self._interval
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):  # Python 3.11's wait_for may lose a cancellation
                    await self._wake.wait()
            self._wake.clear()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(CHANGED_CHANNEL)
                    while True:
                        if await channel.get_message(ignore_subscribe_messages=True, timeout=5.0):
                            self._wake.set()
            except TROUBLE:
                await asyncio.sleep(4 * self._interval)
