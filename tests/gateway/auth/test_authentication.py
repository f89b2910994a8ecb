"""A key is let in, let go and forgotten when it must be; the key itself is nowhere to be found."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import cast

import pytest
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.exc import OperationalError

from gateway.auth.authenticator import Authenticator, require
from gateway.auth.keys import SCOPES, create_key, list_keys, revoke_key
from gateway.clock import ManualClock
from gateway.errors import Forbidden, InvalidRequest, NotFound, StorageUnavailable, Unauthenticated
from gateway.storage.engine import reading
from gateway.storage.models import ApiKeyRow
from gateway.types import Principal
from tests.databases import out_of_reach

TTL = 2.0


@pytest.fixture
def small(ledger_url: str, open_engine: Callable[..., Engine]) -> Engine:
    return open_engine(ledger_url, timeout=0.1)


@pytest.fixture
async def authenticator(small: Engine, clock: ManualClock) -> AsyncIterator[Authenticator]:
    made = Authenticator(small, clock, TTL)
    yield made
    await made.aclose()


@contextmanager
def counted_statements(engine: Engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def count(_c: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    yield seen
    event.remove(engine, "before_cursor_execute", count)


class SwitchedEngine:
    """An engine that can be cut off, and counts how often it was asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.down = False
        self.asked = 0

    def connect(self) -> Connection:
        self.asked += 1
        if self.down:
            raise OperationalError("connect", None, sqlite3.OperationalError("cut off"))
        return self._engine.connect()


async def test_a_key_lives_and_is_revoked_on_both_databases(engine: Engine, clock: ManualClock) -> None:
    plain, row = create_key(engine, clock, "acme", "site", ["chat", "feedback"])
    authenticator = Authenticator(engine, clock, TTL)
    principal = await authenticator.authenticate(f"Bearer {plain}")
    assert principal == Principal("acme", row.id, frozenset({"chat", "feedback"}))
    assert await authenticator.authenticate(None, plain) == principal
    revoke_key(engine, clock, row.id)
    clock.advance(TTL)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(f"Bearer {plain}")
    assert [key.revoked_at is None for key in list_keys(engine, "acme")] == [False]
    await authenticator.aclose()


async def test_only_the_hash_is_at_rest_and_nothing_tells_the_key(
    engine: Engine, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    plain, row = create_key(engine, clock, "acme", "site", ["chat"])
    authenticator = Authenticator(engine, clock, TTL)
    principal = await authenticator.authenticate(f"Bearer {plain}")
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.authenticate(f"Bearer {plain}x")
    with reading(engine) as session:
        at_rest = [str(vars(found)) for found in session.scalars(select(ApiKeyRow))]
    told = [repr(row), str(vars(row)), repr(principal), repr(authenticator), str(vars(authenticator)), caplog.text]
    told += [*at_rest, repr(refused.value), str(vars(refused.value))]
    assert all(plain not in text for text in told)
    assert len(plain) > 40
    assert plain.startswith(row.prefix)
    assert len(row.prefix) < 10
    await authenticator.aclose()


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        (None, None), ("", ""), ("Bearer", None), ("Bearer ", None), ("Basic abc", None), ("Bearer sk-other", None),
        ("Bearer py_" + "x" * 500, None), (None, "nonsense"), ("Bearer py_\ud83d", None), ("Basic abc", "py_valid"),
    ],
)  # fmt: skip
async def test_what_cannot_be_a_key_is_refused(
    authorization: str | None, x_api_key: str | None, authenticator: Authenticator
) -> None:
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(authorization, x_api_key)


async def test_a_trusted_key_costs_no_sql_and_a_crowd_costs_one_statement(
    authenticator: Authenticator, small: Engine, clock: ManualClock
) -> None:
    plain, _ = create_key(small, clock, "acme", "site", ["chat"])
    with counted_statements(small) as seen:
        await asyncio.gather(*(authenticator.authenticate(f"bearer {plain}") for _ in range(50)))
        assert len([one for one in seen if "api_keys" in one]) == 1
        clock.advance(TTL - 0.1)
        await authenticator.authenticate(f"Bearer {plain}")
        assert len([one for one in seen if "api_keys" in one]) == 1


async def test_an_unknown_key_is_remembered_for_a_moment_only(
    authenticator: Authenticator, small: Engine, clock: ManualClock
) -> None:
    with counted_statements(small) as seen:
        for _ in range(3):
            with pytest.raises(Unauthenticated):
                await authenticator.authenticate("Bearer py_guess")
        assert len([one for one in seen if "api_keys" in one]) == 1
        clock.advance(1.1)
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate("Bearer py_guess")
        assert len([one for one in seen if "api_keys" in one]) == 2


async def test_while_sql_is_down_known_keys_go_on_and_unknown_ones_wait(
    authenticator: Authenticator, small: Engine, clock: ManualClock
) -> None:
    known, row = create_key(small, clock, "acme", "site", ["chat"])
    unknown, _ = create_key(small, clock, "acme", "other", ["chat"])
    await authenticator.authenticate(f"Bearer {known}")
    with out_of_reach(small.url.render_as_string(hide_password=False)):
        for _ in range(5):
            clock.advance(10 * TTL)
            assert (await authenticator.authenticate(f"Bearer {known}")).tenant == "acme"
        with pytest.raises(StorageUnavailable):
            await authenticator.authenticate(f"Bearer {unknown}")
    assert (await authenticator.authenticate(f"Bearer {unknown}")).tenant == "acme"
    revoke_key(small, clock, row.id)
    clock.advance(TTL)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(f"Bearer {known}")


async def test_an_outage_is_not_felt_by_every_call(small: Engine, clock: ManualClock) -> None:
    plain, _ = create_key(small, clock, "acme", "site", ["chat"])
    switched = SwitchedEngine(small)
    authenticator = Authenticator(cast(Engine, switched), clock, TTL)
    await authenticator.authenticate(f"Bearer {plain}")
    switched.down = True
    clock.advance(TTL)
    for _ in range(10):
        await authenticator.authenticate(f"Bearer {plain}")
    assert switched.asked == 2
    clock.advance(TTL)
    await authenticator.authenticate(f"Bearer {plain}")
    assert switched.asked == 3
    await authenticator.aclose()


async def test_a_hanging_sql_delays_a_known_key_by_the_time_out_only(small: Engine, clock: ManualClock) -> None:
    plain, _ = create_key(small, clock, "acme", "site", ["chat"])
    authenticator = Authenticator(small, clock, TTL, lookup_timeout=0.05)
    await asyncio.wait_for(authenticator.authenticate(f"Bearer {plain}"), 5)
    hang = threading.Event()
    event.listen(small, "checkout", lambda *_: hang.wait(10))
    clock.advance(TTL)
    try:
        assert (await authenticator.authenticate(f"Bearer {plain}")).tenant == "acme"
        with pytest.raises(StorageUnavailable):
            await authenticator.authenticate("Bearer py_unknown")
    finally:
        hang.set()
        await authenticator.aclose()


async def test_one_impatient_caller_does_not_end_the_look_up_of_the_others(
    authenticator: Authenticator, small: Engine, clock: ManualClock
) -> None:
    plain, _ = create_key(small, clock, "acme", "site", ["chat"])
    impatient = asyncio.create_task(authenticator.authenticate(f"Bearer {plain}"))
    patient = asyncio.create_task(authenticator.authenticate(f"Bearer {plain}"))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).tenant == "acme"


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_scopes_are_required_and_admin_has_them_all(scope: str) -> None:
    require(Principal("acme", "k", frozenset({scope})), scope)
    require(Principal("acme", "k", frozenset({"admin"})), scope)
    others = SCOPES - {scope, "admin"}
    with pytest.raises(Forbidden, match=scope):
        require(Principal("acme", "k", others), scope)


@pytest.mark.parametrize(
    ("tenant", "name", "scopes"),
    [("", "n", ["chat"]), ("t", " ", ["chat"]), ("t", "n", []), ("t", "n", ["chat", "root"]), ("t", "a\nb", ["chat"])],
)
def test_a_wrong_key_is_not_made(tenant: str, name: str, scopes: list[str], small: Engine, clock: ManualClock) -> None:
    with pytest.raises(InvalidRequest):
        create_key(small, clock, tenant, name, scopes)
    assert list_keys(small) == []


def test_revoking_is_idempotent_and_stays_inside_the_tenant(small: Engine, clock: ManualClock) -> None:
    _, row = create_key(small, clock, "acme", "site", ["chat"])
    with pytest.raises(NotFound):
        revoke_key(small, clock, row.id, tenant="other")
    first = revoke_key(small, clock, row.id, tenant="acme").revoked_at
    clock.advance(5)
    assert revoke_key(small, clock, row.id).revoked_at == first
    with pytest.raises(NotFound):
        revoke_key(small, clock, "key_unknown")
