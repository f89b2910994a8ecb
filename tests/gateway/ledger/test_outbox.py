"""Events reach Prefect at least once, a silent or refusing server is asked ever more seldom, and SQL remembers."""

import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import Engine, select

from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable
from gateway.ledger.outbox import Outbox, pause_after
from gateway.storage.engine import reading, writing
from gateway.storage.models import OutboxRow

OpenEngine = Callable[..., Engine]


class ScriptedPrefect:
    """Answers with the next scripted status (then 204 for ever), or refuses every request that holds ``poison``."""

    def __init__(self, *statuses: int, poison: str = "") -> None:
        self._statuses: Iterator[int] = iter(statuses)
        self._poison = poison
        self.requests: list[list[dict[str, Any]]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        events = await request.json()
        self.requests.append(events)
        if self._poison and any(self._poison in event["resource"]["prefect.resource.id"] for event in events):
            return web.Response(status=422)
        return web.Response(status=next(self._statuses, 204))


@asynccontextmanager
async def running(prefect: ScriptedPrefect) -> AsyncIterator[ScriptedPrefect]:
    app = web.Application()
    app.router.add_post("/api/events", prefect.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    prefect.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api"
    try:
        yield prefect
    finally:
        await runner.cleanup()


def add(engine: Engine, *identities: str) -> None:
    with writing(engine) as session:
        for identity in identities:
            session.add(
                OutboxRow(
                    id=identity,
                    event="promptyard.document.updated",
                    resource=f"promptyard.document.acme.faq.{identity}",
                    payload={"document_id": identity, "version": 2},
                    created_at=1_700_000_000.0,
                )
            )


def rows(engine: Engine) -> dict[str, OutboxRow]:
    with reading(engine) as session:
        return {row.id: row for row in session.scalars(select(OutboxRow))}


@asynccontextmanager
async def outbox_to(engine: Engine, clock: ManualClock, url: str) -> AsyncIterator[Outbox]:
    outbox = Outbox(engine, clock, url, random.Random(1), timeout=2.0)
    try:
        yield outbox
    finally:
        await outbox.aclose()


async def test_due_events_are_posted_in_prefects_shape_and_marked(engine: Engine, clock: ManualClock) -> None:
    add(engine, "a", "b")
    async with running(ScriptedPrefect()) as prefect, outbox_to(engine, clock, prefect.url) as outbox:
        assert await outbox.deliver() == 2
        assert await outbox.deliver() == 0
    [[first, _]] = prefect.requests
    uuid.UUID(first.pop("id"))
    assert first == {
        "occurred": "2023-11-14T22:13:20+00:00",
        "event": "promptyard.document.updated",
        "resource": {"prefect.resource.id": "promptyard.document.acme.faq.a"},
        "related": [],
        "payload": {"document_id": "a", "version": 2},
    }
    assert [row.sent_at for row in rows(engine).values()] == [clock.now()] * 2


async def test_a_failing_server_is_asked_again_later_with_the_same_id(engine: Engine, clock: ManualClock) -> None:
    add(engine, "a")
    async with running(ScriptedPrefect(503, 429)) as prefect, outbox_to(engine, clock, prefect.url) as outbox:
        assert await outbox.deliver() == 0
        assert await outbox.deliver() == 0  # not due: no request
        assert len(prefect.requests) == 1
        clock.advance(1.3)
        assert await outbox.deliver() == 0
        assert rows(engine)["a"].attempts == 2
        clock.advance(2.6)
        assert await outbox.deliver() == 1
    assert len({request[0]["id"] for request in prefect.requests}) == 1
    assert len(prefect.requests) == 3


async def test_no_server_at_all_postpones(ledger_url: str, open_engine: OpenEngine, clock: ManualClock) -> None:
    engine = open_engine(ledger_url)
    add(engine, "a", "b")
    async with outbox_to(engine, clock, "http://127.0.0.1:1/api") as outbox:
        assert await outbox.deliver() == 0
    assert {row.next_attempt_at > clock.now() for row in rows(engine).values()} == {True}


async def test_a_refused_event_holds_up_nobody_and_is_set_aside(
    ledger_url: str, open_engine: OpenEngine, clock: ManualClock
) -> None:
    engine = open_engine(ledger_url)
    add(engine, "a", "poison", "z")
    async with running(ScriptedPrefect(poison="poison")) as prefect, outbox_to(engine, clock, prefect.url) as outbox:
        assert await outbox.deliver() == 2
        for _ in range(20):
            clock.advance(120)
            await outbox.deliver()
    kept = rows(engine)
    assert kept["a"].sent_at
    assert kept["z"].sent_at
    assert (kept["poison"].sent_at, kept["poison"].attempts) == (None, 10)


async def test_sql_down_raises_and_posts_nothing(open_engine: OpenEngine, clock: ManualClock) -> None:
    async with running(ScriptedPrefect()) as prefect:
        engine = open_engine("sqlite:////nowhere/at/all.db")
        async with outbox_to(engine, clock, prefect.url) as outbox:
            with pytest.raises(StorageUnavailable):
                await outbox.deliver()
    assert prefect.requests == []


def test_pauses_grow_to_a_bound() -> None:
    entropy = random.Random(3)
    pauses = [pause_after(attempts, entropy) for attempts in range(1, 100)]
    assert 1.0 <= pauses[0] <= 1.25
    assert pauses[3] > pauses[1]
    assert max(pauses) <= 75.0
