"""A candidate is asked what users ask, through the real gateway: users notice nothing, the ledger has the pairs."""

import time
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from gateway.storage.engine import reading
from gateway.storage.models import CallRow, PromptVersionRow, ReleaseRow
from gateway.types import ModelRef
from tasks.releases import reconcile, store
from tasks.releases.replay import replay
from tasks.releases.stages import Stage
from tests.gateway.api.conftest import Shop
from tests.gateway_stack import Stack, prompt_version, until
from tests.tasks.releases.mirrors import mirrored_policy

pytestmark = pytest.mark.integration

CANDIDATE = ModelRef("openai", "gpt-4.1")
HANGS = {"scope": {"model": "gpt-4.1"}, "latency_ms": 4_000}
REJECTS = {"scope": {"model": "gpt-4.1"}, "error_rate": 1.0, "error_status": 400}


def begin(stack: Stack, shop: Shop, version: str = "1.1.0", **mirror: Any) -> ReleaseRow:
    """A release in its mirror stage, which the gateway knows of."""
    candidate = prompt_version(shop.tenant, shop.prompt, version, chain=(CANDIDATE,))
    row = PromptVersionRow(
        tenant=shop.tenant,
        name=shop.prompt,
        version=version,
        digest=candidate.digest,
        bundle=msgspec.to_builtins(candidate),
        spec={},
    )
    store.register_version(stack.engine, stack.clock, row)
    opened = store.open_release(
        stack.engine,
        stack.clock,
        tenant=shop.tenant,
        prompt=shop.prompt,
        version=version,
        policy={"canary": mirrored_policy(share=100, judged=0, max_cost_ratio=None, **mirror)},
    )
    release, table = reconcile.start_canary(stack.engine, stack.clock, opened)
    stack.publish(table)
    return release


def ask(shop: Shop, count: int, name: str) -> list[float]:
    """Seconds that each of so many users waited for a question of their own."""
    waited = []
    for number in range(count):
        begun = time.monotonic()
        question = f"When do parcels arrive, asks {name} {number}?"
        body = {"model": f"prompt:{shop.prompt}", "variables": {"question": question}, "user": f"{name}-{number}"}
        told = shop.http.post("/v1/chat/completions", json=body).raise_for_status().json()["promptyard"]
        assert told["version"] == "1.0.0"
        waited.append(time.monotonic() - begun)
    return waited


def mirrored(stack: Stack, shop: Shop) -> list[CallRow]:
    return [row for row in stack.calls(shop.tenant) if row.origin == "mirror"]


def until_asked(stack: Stack, shop: Shop, count: int) -> list[CallRow]:
    until("the candidate was asked", lambda: not len(stack.gateway.pipeline.mirroring), within=30)
    rows = mirrored(stack, shop)
    assert len(rows) == count
    return rows


def test_a_good_candidate_passes_its_mirror_and_a_bad_one_is_refused(stack: Stack, shop: Shop) -> None:
    release = begin(stack, shop, calls=10)
    ask(shop, 10, "ada")
    rows = until_asked(stack, shop, 10)
    live = {row.id: row for row in stack.calls(shop.tenant) if row.origin == "live"}
    assert {row.status for row in rows} == {"ok"}
    assert {live[row.mirrors].question for row in rows} == {row.question for row in rows}
    assert {(row.key_id, row.model, row.version, row.layer) for row in rows} == {("", "gpt-4.1", "1.1.0", "none")}
    assert all(row.cost_usd for row in rows), "what they cost is booked"
    assert {row.release_id for row in live.values()} == {""}, "no user has entered the release"
    report = reconcile.advance(stack.engine, stack.clock, release.id, "test")
    assert report is not None
    assert report.release.stage == Stage.CANARY, report.release.reason
    assert replay(stack.engine, release.id).difference is None

    _, _, table = store.roll_back(stack.engine, stack.clock, tenant=shop.tenant, prompt=shop.prompt)
    stack.publish(table)
    worse = begin(stack, shop, "1.2.0", calls=20)
    with stack.simulator.faults(REJECTS):
        ask(shop, 12, "bob")
        until_asked(stack, shop, 22)
    report = reconcile.advance(stack.engine, stack.clock, worse.id, "test")
    assert report is not None
    assert report.release.stage == Stage.REFUSED
    assert "failure" in report.release.reason
    assert report.table is not None
    stack.publish(report.table)
    ask(shop, 3, "eve")
    assert len(until_asked(stack, shop, 22)) == 22, "nobody asks it any more"
    assert replay(stack.engine, worse.id).difference is None
    with reading(stack.engine) as session:
        of_users = select(CallRow.status).where(CallRow.tenant == shop.tenant, CallRow.origin == "live")
        assert set(session.scalars(of_users)) == {"ok"}


def test_users_do_not_wait_for_a_candidate_that_hangs(stack: Stack, shop: Shop) -> None:
    begin(stack, shop, calls=10)
    with stack.simulator.faults(HANGS):
        waited = ask(shop, 6, "ada")
        assert max(waited) < 3, "it takes four seconds to answer"
        assert len(stack.gateway.pipeline.mirroring) > 0
        assert mirrored(stack, shop) == []
        until_asked(stack, shop, 6)
