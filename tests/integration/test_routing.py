"""A release reaches running gateways within a second, and each user stays where they are put."""

import time

import pytest

from gateway.prompts.splits import choose
from tests.gateway.api.conftest import Shop
from tests.gateway_stack import Stack, prompt_version

pytestmark = pytest.mark.integration


def versions(shop: Shop, users: list[str]) -> list[tuple[str, str]]:
    """Version and arm that each user's next call gets."""
    told = [shop.ask(user=user).raise_for_status().json()["promptyard"] for user in users]
    return [(one["version"], one["arm"]) for one in told]


def test_a_release_from_its_first_user_to_its_rollback(stack: Stack, shop: Shop) -> None:
    users = [f"user-{n}" for n in range(20)]
    canary = prompt_version(shop.tenant, shop.prompt, "1.1.0")
    assert set(versions(shop, users)) == {("1.0.0", "stable")}
    on_canary: set[str] = set()
    for weight in (2500, 6000):
        begun = time.monotonic()
        table = stack.release(canary, weight=weight, evidence_share=10_000)
        assert time.monotonic() - begun < 5  # on a busy machine; "within a second" is the watcher's own test
        [route] = [route for route in table.routes if route.tenant == shop.tenant]
        expected = [(arm.version.version, arm.name) for arm in (choose(route, user, {}).arm for user in users)]
        assert versions(shop, users) == expected
        now = {user for user, (_, arm) in zip(users, expected, strict=True) if arm == "canary"}
        assert on_canary < now  # they nest: nobody goes back
        on_canary = now
    live = stack.on_state(lambda store: store.live())
    assert live == {stack.gateway.instance: table.revision}
    stack.release(canary, weight=0)
    assert set(versions(shop, users)) == {("1.0.0", "stable")}


def test_what_is_active_is_told(stack: Stack, shop: Shop) -> None:
    table = stack.release(prompt_version(shop.tenant, shop.prompt, "1.1.0"), weight=3000)
    told = shop.http.get(f"/v1/prompts/{shop.prompt}", params={"user": "user-1"}).raise_for_status().json()
    assert told["stable"] == "1.0.0"
    assert [(arm["version"], arm["share_of_users"]) for arm in told["arms"]] == [("1.0.0", 0.7), ("1.1.0", 0.3)]
    assert told["revision"] == table.revision
    assert told["user"]["version"] == versions(shop, ["user-1"])[0][0]


def test_evidence_is_made_for_each_user_anew_and_recorded_as_such(stack: Stack, shop: Shop) -> None:
    stack.release(prompt_version(shop.tenant, shop.prompt, "1.1.0"), weight=5000, evidence_share=10_000)
    for _ in range(2):
        body = shop.ask(user="user-1").raise_for_status().json()
        cache = body["promptyard"]["cache"]
        assert (cache["layer"], cache["reason"], cache["reasons"]["exact"]) == ("none", "evidence", "evidence")
    rows = [row for row in stack.calls(shop.tenant) if row.user == "user-1"]
    assert [(row.evidence, row.layer) for row in rows] == [(True, "none")] * 2
    assert {row.release_id for row in rows} == {body["promptyard"]["release"]}
    assert shop.ask().json()["promptyard"]["arm"] == "stable"  # no user: never evidence
    assert not stack.calls(shop.tenant)[-1].evidence
