"""A key's limits come back as they were given; wrong ones make no key; a name is as good as an id while it is one."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from gateway.auth.authenticator import Authenticator
from gateway.auth.keys import create_key, list_keys, revoke_key
from gateway.clock import ManualClock
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.types import NO_LIMITS, KeyLimits


@pytest.mark.parametrize(
    "limits",
    [
        NO_LIMITS,
        KeyLimits(1, None, None),
        KeyLimits(60, 100_000, 2.5),
        KeyLimits(daily_budget_usd=0),
        KeyLimits(daily_budget_usd=5),
    ],
)
async def test_limits_come_back_with_the_principal(limits: KeyLimits, engine: Engine, clock: ManualClock) -> None:
    plain, _ = create_key(engine, clock, "acme", "site", ["chat"], limits)
    authenticator = Authenticator(engine, clock, ttl=2.0)
    try:
        assert (await authenticator.authenticate(f"Bearer {plain}")).limits == limits
    finally:
        await authenticator.aclose()


@pytest.mark.parametrize(
    "limits",
    [
        KeyLimits(requests_per_minute=0),
        KeyLimits(requests_per_minute=-1),
        KeyLimits(tokens_per_minute=0),
        KeyLimits(tokens_per_minute=10**12),
        KeyLimits(daily_budget_usd=-0.01),
        KeyLimits(daily_budget_usd=float("nan")),
        KeyLimits(daily_budget_usd=float("inf")),
    ],
)
def test_impossible_limits_make_no_key(limits: KeyLimits, engine: Engine, clock: ManualClock) -> None:
    with pytest.raises(InvalidRequest, match="is a number from"):
        create_key(engine, clock, "acme", "site", ["chat"], limits)
    assert list_keys(engine) == []


@pytest.mark.parametrize("tenant", ["", " ", "a b", "a/b", "{a}", "..", "é", "x" * 121])
def test_a_tenant_that_could_own_no_document_gets_no_key(tenant: str, engine: Engine, clock: ManualClock) -> None:
    with pytest.raises(InvalidRequest, match="cannot be the name of a tenant"):
        create_key(engine, clock, tenant, "site", ["chat"])
    assert list_keys(engine) == []


@pytest.fixture
def make(engine: Engine, clock: ManualClock) -> Callable[..., str]:
    return lambda name, tenant="acme": create_key(engine, clock, tenant, name, ["chat"])[1].id


def test_a_name_revokes_the_one_key_that_has_it(make: Callable[..., str], engine: Engine, clock: ManualClock) -> None:
    wanted = make("site")
    make("other")
    make("site", "umbrella")
    assert revoke_key(engine, clock, "site", "acme").id == wanted
    assert [row.id for row in list_keys(engine) if row.revoked_at] == [wanted]
    with pytest.raises(NotFound):
        revoke_key(engine, clock, "site", "acme")
    again = make("site")
    assert revoke_key(engine, clock, "site", "acme").id == again


def test_a_name_of_several_keys_revokes_none(make: Callable[..., str], engine: Engine, clock: ManualClock) -> None:
    ids = {make("site"), make("site")}
    with pytest.raises(Conflict) as refused:
        revoke_key(engine, clock, "site", "acme")
    assert all(one in refused.value.message for one in ids)
    assert not any(row.revoked_at for row in list_keys(engine))


def test_a_name_without_a_tenant_says_nothing(make: Callable[..., str], engine: Engine, clock: ManualClock) -> None:
    make("site")
    with pytest.raises(NotFound):
        revoke_key(engine, clock, "site")


def test_an_id_wins_over_a_name(make: Callable[..., str], engine: Engine, clock: ManualClock) -> None:
    first = make("site")
    make(first)
    assert revoke_key(engine, clock, first, "acme").id == first
