"""The gateway goes on when what it stands on goes away, says so, and is whole again when it is back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from gateway.storage.engine import make_engine
from gateway.storage.models import Base
from tests.databases import POSTGRESQL, out_of_reach
from tests.gateway.api.conftest import Shop
from tests.gateway_stack import Stack, unique, until
from tests.servers import RedisServer

pytestmark = pytest.mark.integration

RECOVERY = 5.0


def readiness(http: httpx.Client) -> tuple[str, dict[str, str]]:
    body = http.get("/readyz").raise_for_status().json()
    return body["status"], body["checks"]


def is_whole(http: httpx.Client) -> bool:
    return readiness(http)[0] == "ok"


@contextmanager
def away(*servers: RedisServer, how: str = "kill") -> Iterator[None]:
    for server in servers:
        server.kill() if how == "kill" else server.pause()
    try:
        yield
    finally:
        for server in servers:
            server.start() if how == "kill" else server.resume()


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_without_the_cache_it_answers_uncached(stack: Stack, shop: Shop, ready: httpx.Client, how: str) -> None:
    with away(stack.cache_redis, how=how):
        for _ in range(2):
            text_, layer, reason = shop.answer()
            assert "three days" in text_
            assert (layer, reason) == ("none", "unavailable")
        status, checks = readiness(ready)
        assert (status, checks) == ("degraded", {"cache_redis": "down", "state_redis": "up", "sql": "up"})
        shop.put("shipping", "Shipping times", "Parcels arrive within nine days.")  # the truth needs no cache
        assert "nine days" in shop.answer()[0]
    until("whole again", lambda: is_whole(ready), within=RECOVERY)
    until("cached again", lambda: shop.answer()[1] == "exact", within=RECOVERY)
    assert "nine days" in shop.answer()[0]


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_without_the_state_it_answers_and_takes_no_document(
    stack: Stack, shop: Shop, ready: httpx.Client, how: str
) -> None:
    path = f"/v1/documents/{shop.prompt}/shipping"
    before = shop.http.get(path).json()
    with away(stack.state_redis, how=how):
        text_, layer, reason = shop.answer()
        assert "three days" in text_
        assert (layer, reason) == ("none", "epoch")  # nobody knows whether the kept answer is still true
        refused = shop.http.put(path, json={"text": "Parcels arrive within nine days."})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "storage_unavailable"
        assert refused.json()["error"]["retryable"] is True
        assert refused.headers["retry-after"]
        assert shop.http.delete(path).status_code == 503
        assert shop.http.get(path).json() == before
        assert readiness(ready)[1]["state_redis"] == "down"
    until("whole again", lambda: is_whole(ready), within=RECOVERY)
    assert "three days" in shop.answer()[0]
    shop.put("shipping", "Shipping times", "Parcels arrive within nine days.")
    assert "nine days" in shop.answer()[0]
    until("cached again", lambda: shop.answer()[1] == "exact", within=RECOVERY)


def test_both_come_back_with_heartbeat_and_routes(stack: Stack, shop: Shop, ready: httpx.Client) -> None:
    with away(stack.cache_redis, stack.state_redis):
        assert "three days" in shop.answer()[0]
        assert readiness(ready)[0] == "degraded"
    until("whole again", lambda: is_whole(ready), within=RECOVERY)
    until("cached again", lambda: shop.answer()[1] == "exact", within=RECOVERY)
    live = until("its heart beats", lambda: stack.on_state(lambda store: store.live()), within=RECOVERY)
    assert set(live) == {stack.gateway.instance}


@contextmanager
def locked(stack: Stack) -> Iterator[None]:
    """Another process holds the write lock of the SQLite file, or one on every table of a server."""
    engine = make_engine(stack.settings.sql_url)
    with engine.connect() as connection:
        names = ", ".join(table.name for table in Base.metadata.sorted_tables)
        locks = f"LOCK TABLE {names} IN EXCLUSIVE MODE" if engine.dialect.name == POSTGRESQL else "SELECT 1"
        connection.execute(text(locks))
        yield
        connection.rollback()
    engine.dispose()


@contextmanager
def removed(stack: Stack) -> Iterator[None]:
    """Neither the file nor its journal is where it was; a server lets nobody in."""
    if stack.settings.sql_url.startswith(POSTGRESQL):
        with out_of_reach(stack.settings.sql_url):
            yield
        return
    home = stack.settings.home
    stack.engine.dispose()
    files = sorted(home.glob("ledger.db*"))
    for file in files:
        file.rename(file.with_name("away-" + file.name))
    try:
        yield
    finally:
        for file in home.glob("ledger.db*"):
            file.unlink()
        for file in files:
            file.with_name("away-" + file.name).rename(file)


def test_while_sql_is_locked_calls_go_on(stack: Stack, shop: Shop) -> None:
    with locked(stack):
        ids = [shop.ask(f"When do parcels arrive, take {n}?").raise_for_status().json()["id"] for n in range(5)]
        refused = shop.http.put(f"/v1/documents/{shop.prompt}/new", json={"text": "x"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_unavailable")
    rows = stack.calls(shop.tenant)
    assert [row.id for row in rows][1:] == ids
    assert shop.http.get(f"/v1/documents/{shop.prompt}/new").status_code == 404


def test_while_sql_is_gone_known_keys_go_on_and_the_ledger_catches_up(
    stack: Stack, shop: Shop, ready: httpx.Client
) -> None:
    stranger = stack.key(shop.tenant)
    with removed(stack):
        ids: list[str] = []

        def a_call() -> bool:
            answer = shop.ask("When do parcels arrive?", promptyard={"cache": "refresh"}).raise_for_status()
            ids.append(answer.json()["id"])
            return len(ids) >= 5

        until("five answers", a_call)
        with stack.http(stranger) as http:
            refused = http.post("/v1/chat/completions", json={})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_unavailable")
        assert readiness(ready)[1]["sql"] == "down"
        assert not (stack.settings.home / "ledger.db").exists()  # nobody quietly began a new one
    until("whole again", lambda: is_whole(ready), within=RECOVERY)
    with stack.http(stranger) as http:
        assert http.post("/v1/chat/completions", json={}).status_code == 400
    assert [row.id for row in stack.calls(shop.tenant)][1:] == ids
    assert [row.id for row in stack.calls(shop.tenant)][1:] == ids


def test_the_next_provider_answers_when_the_first_is_down(stack: Stack, shop: Shop) -> None:
    with stack.simulator.faults({"scope": {"provider": "openai"}, "outage": True}):
        body: dict[str, Any] = shop.ask("Parcels: when?").raise_for_status().json()
    told = body["promptyard"]
    assert (told["provider"], told["model"]) == ("anthropic", "claude-haiku-4-5")
    assert [(a["provider"], a["error"]) for a in told["attempts"]] == [
        ("openai", "provider_unreachable"),
        ("openai", "provider_unreachable"),
        ("anthropic", None),
    ]
    row = stack.calls(shop.tenant)[-1]
    assert (row.fell_back, row.status, len(row.attempts)) == (True, "ok", 3)


@pytest.mark.parametrize("stream", [False, True])
def test_when_all_are_down_the_call_fails_and_is_recorded(stack: Stack, shop: Shop, stream: bool) -> None:
    with stack.simulator.faults({"outage": True}):
        refused = shop.ask("Parcels: when?", stream=stream)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["retryable"]) == (502, "all_providers_failed", True)
    row = stack.calls(shop.tenant)[-1]
    assert (row.id, row.status, row.error, row.streamed) == (error["call_id"], "failed", error["code"], stream)
    assert {attempt["error"] for attempt in row.attempts} == {"provider_unreachable"}
    assert shop.answer("Parcels: when?")[1:] == ("none", "miss")  # errors are not kept


def test_what_an_outage_interrupts_is_counted_once(stack: Stack, shop: Shop) -> None:
    """A ledger-writer that dies between SQL and its own book delivers again; the rows stay single."""
    ids = {shop.ask(f"{unique('take')}?").raise_for_status().json()["id"] for _ in range(3)}
    assert {row.id for row in stack.calls(shop.tenant)} >= ids
    for position in stack.settings.spool_directory.glob("*/position*"):
        position.unlink()
    rows = [row.id for row in stack.calls(shop.tenant)]
    assert len(rows) == len(set(rows)) == 4
