"""A replay reaches the same verdicts at the same looks, and names the first row that is not what a look saw."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from gateway.storage.engine import reading, writing
from gateway.storage.models import (
    CallRow,
    ReleaseBlockRow,
    ReleaseLookRow,
    ReleaseRow,
    ReleaseStepRow,
    ScoreRow,
)
from tasks.certificates.record import certificate
from tasks.releases import store
from tasks.releases.replay import replay
from tasks.releases.sealing import PATIENCE, seal_closed
from tasks.releases.stages import Stage
from tests.tasks.releases.traffic import around, arrive, play
from tests.tasks.releases.yard import POLICY, Yard, live_call


@pytest.fixture
def closed(small_yard: Yard) -> tuple[Yard, ReleaseRow]:
    """A release that was rolled back on its evidence."""
    release = play(small_yard, small_yard.canary(), around(0.9, 0.4), rounds=20)
    assert release.stage == Stage.ROLLED_BACK
    return small_yard, release


def test_the_same_verdicts_at_the_same_looks(closed: tuple[Yard, ReleaseRow]) -> None:
    yard, release = closed
    found = replay(yard.engine, release.id)
    assert found.difference is None
    steps = [step for step in store.steps_of(yard.engine, release.id) if "decision" in step.evidence]
    assert [(one.step, one.kind, one.reason) for one in found.verdicts] == [
        (step.seq, step.kind, step.reason) for step in steps
    ]
    assert (found.looks, found.sealed) == (len(steps), False)


def test_a_promotion_over_several_steps_replays_on_every_database(yard: Yard) -> None:
    release = play(yard, yard.canary(), around(0.8, 0.8), rounds=40)
    assert release.stage == Stage.PROMOTED
    yard.clock.advance(PATIENCE + 1)
    assert release.id in seal_closed(yard.engine, yard.clock)
    found = replay(yard.engine, release.id)
    assert (found.difference, found.sealed) == (None, True)
    assert [one.kind for one in found.verdicts].count("advanced") == 1
    before = certificate(yard.engine, release.id)
    store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help", actor="Ada")
    assert certificate(yard.engine, release.id) == before, "what became of it later is no part of its evidence"


def test_scores_and_calls_that_came_between_looks_replay(small_yard: Yard) -> None:
    """A call that one look saw without its score and a later one with it; a call that was shipped late."""
    release = small_yard.canary()
    play(small_yard, release, around(0.9, 0.8), rounds=1)
    start = small_yard.clock.now()
    call = live_call(release, "late-score", "stable", start)
    small_yard.add_calls([(call, None)])
    play(small_yard, release, around(0.9, 0.8), rounds=1, seed=8)
    with writing(small_yard.engine) as session:
        row = {"call_id": "late-score", "metric": "quality", "source": "judge", "tenant": "acme", "reason": ""}
        session.add(ScoreRow(**row, value=0.5, scored_at=small_yard.clock.now()))
    small_yard.add_calls([(live_call(release, "late-call", "stable", start + 1), 0.5)])
    play(small_yard, release, around(0.9, 0.8), rounds=2, seed=9)
    assert replay(small_yard.engine, release.id).difference is None


def changed(row: type[Any], where: Callable[[Any], Any], **values: Any) -> Callable[[Yard, ReleaseRow], None]:
    def change(yard: Yard, release: ReleaseRow) -> None:
        with writing(yard.engine) as session:
            rows = [one for one in session.scalars(select(row)) if where(one)]
            for name, value in values.items():
                setattr(rows[0], name, value)

    return change


def deleted_call(yard: Yard, release: ReleaseRow) -> None:
    with writing(yard.engine) as session:
        call = session.scalars(select(CallRow).where(CallRow.release_id == release.id)).first()
        session.delete(call)


def added_call(yard: Yard, release: ReleaseRow) -> None:
    with reading(yard.engine) as session:
        first = session.scalars(select(CallRow).order_by(CallRow.started_at)).first()
        assert first is not None
    yard.add_calls([(live_call(release, "planted", "canary", first.started_at + 1), 1.0)])


def lost_look(yard: Yard, release: ReleaseRow) -> None:
    with writing(yard.engine) as session:
        session.delete(session.get_one(ReleaseLookRow, (release.id, 1)))


def other_block(yard: Yard, release: ReleaseRow) -> None:
    with writing(yard.engine) as session:
        row = session.get_one(ReleaseBlockRow, (release.id, 2))
        canary = {**row.body["canary"], "metrics": {**row.body["canary"]["metrics"], "quality": 0.99}}
        row.body = {**row.body, "canary": canary}


def other_policy(yard: Yard, release: ReleaseRow) -> None:
    with writing(yard.engine) as session:
        row = session.get_one(ReleaseRow, release.id)
        row.policy = {**row.policy, "canary": {**POLICY, "margin": 0.2}}


def other_evidence(yard: Yard, release: ReleaseRow) -> None:
    with writing(yard.engine) as session:
        step = [s for s in session.scalars(select(ReleaseStepRow)) if "decision" in s.evidence][-1]
        decision = {**step.evidence["decision"], "blocks": 3}
        step.evidence = {**step.evidence, "decision": decision}


CHANGES: dict[str, tuple[Callable[[Yard, ReleaseRow], None], str]] = {
    "a score": (changed(ScoreRow, lambda row: True, value=0.123), "its score is not what it was"),
    "when it was scored": (changed(ScoreRow, lambda row: True, scored_at=1.0), "the time of its score"),
    "an arm": (changed(CallRow, lambda row: row.arm == "canary", arm="stable"), "its arm is not what it was"),
    "a time": (changed(CallRow, lambda row: True, started_at=1.0), "its time is not what it was"),
    "a user": (changed(CallRow, lambda row: True, user="somebody"), "its user is not what it was"),
    "a status": (changed(CallRow, lambda row: True, status="failed"), "its status is not what it was"),
    "a deleted call": (deleted_call, "is not in the ledger any more"),
    "an added call": (added_call, "call planted is in the ledger and was not then: it was added"),
    "a deleted look": (lost_look, "look 1: is not in the ledger any more"),
    "the policy": (other_policy, "policy, salt or versions"),
    "when a block was formed": (changed(ReleaseBlockRow, lambda row: row.seq == 2, formed_at=1.0), "block"),
    "a block that makes no sense": (
        changed(ReleaseBlockRow, lambda row: row.seq == 2, body={"canary": {}, "stable": []}),
        "block",
    ),
    "a block": (other_block, "block 2 is not what the calls say: canary.metrics.quality is"),
    "a verdict": (changed(ReleaseStepRow, lambda row: row.kind == "rolled_back", kind="promoted"), "comes out as"),
    "a reason": (changed(ReleaseStepRow, lambda row: row.kind == "rolled_back", reason="so"), "its reason"),
    "figures": (other_evidence, "its figures come out differently: decision.blocks"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_row_is_named(closed: tuple[Yard, ReleaseRow], name: str) -> None:
    yard, release = closed
    change, words = CHANGES[name]
    change(yard, release)
    difference = replay(yard.engine, release.id).difference
    assert difference is not None
    assert words in str(difference)


def test_the_first_difference_is_named_and_earlier_verdicts_stand(small_yard: Yard) -> None:
    release = play(small_yard, small_yard.canary(), around(0.8, 0.8), rounds=4)
    with writing(small_yard.engine) as session:
        last = session.scalars(select(ScoreRow).order_by(ScoreRow.scored_at.desc())).first()
        assert last is not None
        last.value = 0.01
    found = replay(small_yard.engine, release.id)
    assert found.difference is not None
    assert found.difference.look == found.looks > len(found.verdicts) > 0


class TestSeal:
    def test_stragglers_are_taken_in_and_the_rest_is_an_addition(self, closed: tuple[Yard, ReleaseRow]) -> None:
        yard, release = closed
        assert seal_closed(yard.engine, yard.clock) == [], "calls may still be under way"
        yard.add_calls([(live_call(release, "under-way", "canary", yard.clock.now() - 1), 1.0)])
        assert replay(yard.engine, release.id).late == 1
        yard.clock.advance(PATIENCE + 1)
        assert release.id in seal_closed(yard.engine, yard.clock)
        assert seal_closed(yard.engine, yard.clock) == []
        found = replay(yard.engine, release.id)
        assert (found.difference, found.sealed, found.late) == (None, True, 1)
        yard.add_calls([(live_call(release, "planted", "canary", yard.clock.now()), 1.0)])
        assert "planted" in str(replay(yard.engine, release.id).difference)

    def test_the_word_of_a_person_is_sealed_too(self, small_yard: Yard) -> None:
        release = play(small_yard, small_yard.canary(), around(0.8, 0.8), rounds=1)
        store.roll_back(small_yard.engine, small_yard.clock, tenant="acme", prompt="help", actor="Ada")
        small_yard.clock.advance(PATIENCE + 1)
        seal_closed(small_yard.engine, small_yard.clock)
        assert replay(small_yard.engine, release.id).holds
        changed(ReleaseStepRow, lambda row: row.release_id == release.id and row.kind == "rolled_back", reason="by Bo")(
            small_yard, release
        )
        assert "step" in str(replay(small_yard.engine, release.id).difference)


def test_random_traffic_always_replays(small_yard: Yard) -> None:
    """Shares, faults and missing scores as they come."""
    release = small_yard.canary()
    dice = random.Random(3)
    for _ in range(6):
        quality = around(dice.uniform(0.6, 0.9), dice.uniform(0.6, 0.9))
        arrive(small_yard, small_yard.release(release), 40, quality, dice, status=dice.choice(["ok", "ok", "failed"]))
        small_yard.clock.advance(dice.uniform(10, 150))
        small_yard.advance(release)
    found = replay(small_yard.engine, release.id)
    assert found.difference is None
    assert found.looks > 0
