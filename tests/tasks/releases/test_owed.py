"""A verdict whose run dies right after it: the alert and the warm-up are made up for, once."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.storage.models import ReleaseRow
from tasks.releases import owed, store
from tasks.releases.owed import Owed, owing, settle_owed
from tasks.releases.reconcile import GATING_PATIENCE
from tasks.releases.stages import Stage
from tasks.releases.store import Step
from tests.databases import copy_of, drop
from tests.tasks.releases.test_crashes import Axe, Killed
from tests.tasks.releases.traffic import Quality, around, arrive, play
from tests.tasks.releases.yard import POLICY, Yard


class Diary:
    """What was followed up; ``broken`` raises, as a warm-up does while no provider answers."""

    def __init__(self, broken: BaseException | None = None) -> None:
        self.done: list[tuple[str, str]] = []
        self.broken = broken

    def alert(self, release: ReleaseRow) -> None:
        self._note("alert", release)

    def warm(self, release: ReleaseRow) -> None:
        self._note("warm", release)

    def _note(self, what: str, release: ReleaseRow) -> None:
        if self.broken:
            raise self.broken
        self.done.append((what, release.stage))


def pay(yard: Yard, diary: Diary, owner: str = "me") -> list[owed.Payment]:
    return settle_owed(yard.engine, yard.clock, owner, diary)


@pytest.mark.parametrize(
    ("quality", "done"),
    [(around(0.9, 0.4), ("alert", "rolled_back")), (around(0.8, 0.8), ("warm", "promoted"))],
    ids=["rolled_back", "promoted"],
)
def test_a_canarys_verdict_is_followed_up_once(small_yard: Yard, quality: Quality, done: tuple[str, str]) -> None:
    release = play(small_yard, small_yard.canary(), quality, rounds=40)
    diary = Diary()
    assert [payment.problem for payment in pay(small_yard, diary)] == [""]
    assert diary.done == [done]
    assert pay(small_yard, diary) == []
    assert diary.done == [done]
    assert small_yard.kinds(release)[-2:] == [release.stage, "settled"]
    assert small_yard.release(release).lease_owner == ""


def test_time_that_is_up_and_a_gate_that_never_ended_are_told(small_yard: Yard) -> None:
    canary = small_yard.canary(policy={**POLICY, "max_duration": 500})
    small_yard.clock.advance(501)
    small_yard.advance(canary)
    small_yard.register("1.2.0")
    gating = small_yard.open("1.2.0")
    small_yard.clock.advance(GATING_PATIENCE)
    small_yard.advance(gating)
    diary = Diary()
    pay(small_yard, diary)
    assert diary.done == [("alert", "inconclusive"), ("alert", "error")]


def test_nothing_is_owed_for_what_people_did_themselves(yard: Yard) -> None:
    yard.canary()
    store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help")
    assert pay(yard, diary := Diary()) == []
    assert diary.done == []


def gated(yard: Yard, stage: Stage) -> ReleaseRow:
    yard.register("1.0.0")
    step = Step("gated", "the verdict", owing(Owed.REPORT, {"verdict": {}}))
    return store.transition(yard.engine, yard.clock, yard.open("1.0.0"), stage, step)[0]


@pytest.mark.parametrize("stage", [Stage.REFUSED, Stage.INCONCLUSIVE, Stage.ERROR, Stage.AWAITING_APPROVAL])
def test_a_gates_verdict_that_its_run_did_not_report_is_told_later(yard: Yard, stage: Stage) -> None:
    gated(yard, stage)
    diary = Diary()
    assert pay(yard, diary) == [], "its run may still be about to tell"
    yard.clock.advance(owed.REPORT_GRACE)
    pay(yard, diary)
    pay(yard, diary)
    assert diary.done == [("alert", stage)]


def test_a_gates_verdict_that_was_reported_is_not_told_again(yard: Yard) -> None:
    release = gated(yard, Stage.REFUSED)
    for _ in range(2):
        owed.reported(yard.engine, yard.clock, release.id)
    yard.clock.advance(owed.REPORT_GRACE)
    assert pay(yard, Diary()) == []
    assert yard.kinds(release) == ["registered", "gated", "settled"]


def test_what_was_decided_since_is_not_told_any_more(yard: Yard) -> None:
    release = gated(yard, Stage.AWAITING_APPROVAL)
    yard.move(release, Stage.PROMOTED)
    yard.clock.advance(owed.REPORT_GRACE)
    (payment,) = pay(yard, diary := Diary())
    assert (payment.how, diary.done) == ("not told: the release went on meanwhile", [])


def test_a_version_that_serves_no_more_is_not_warmed(small_yard: Yard) -> None:
    play(small_yard, small_yard.canary(), around(0.8, 0.8), rounds=40)
    store.roll_back(small_yard.engine, small_yard.clock, tenant="acme", prompt="help")
    (payment,) = pay(small_yard, diary := Diary())
    assert (payment.how, diary.done) == ("not warmed: 1.0.0 serves by now", [])


def test_what_could_not_be_paid_is_tried_again_after_a_while_and_not_for_ever(small_yard: Yard) -> None:
    play(small_yard, small_yard.canary(), around(0.8, 0.8), rounds=40)
    (payment,) = pay(small_yard, Diary(ConnectionError("secret")))
    assert (payment.problem, payment.how) == ("ConnectionError", "")
    assert pay(small_yard, Diary(), "another") == [], "not in every reconcile"
    small_yard.clock.advance(owed.LEASE_SECONDS)
    pay(small_yard, diary := Diary(), "another")
    assert diary.done == [("warm", "promoted")]


def test_an_old_debt_is_let_go(small_yard: Yard) -> None:
    play(small_yard, small_yard.canary(), around(0.8, 0.8), rounds=40)
    small_yard.clock.advance(owed.HORIZON + 1)
    assert pay(small_yard, Diary()) == []


@pytest.mark.parametrize(
    ("quality", "users", "done"),
    [(around(0.95, 0.1), 200, ("alert", "rolled_back")), (around(0.8, 0.8), 700, ("warm", "promoted"))],
    ids=["rolled_back", "promoted"],
)
def test_killed_at_every_seam_between_verdict_and_follow_up(
    ledger_url: str,
    tmp_path: Path,
    open_engine: Callable[..., Engine],
    quality: Quality,
    users: int,
    done: tuple[str, str],
) -> None:
    """From the verdict's commit on: the debt is there, and is paid; twice only if it died between paying and noting."""
    decided = Yard(open_engine(ledger_url), ManualClock())
    release = decided.canary(policy={**POLICY, "steps": [50, 60]})
    arrive(decided, release, users, quality, random.Random(3))
    decided.clock.advance(200)
    decided.advance(release, "the one that dies")
    assert len(owed.unsettled(decided.engine, decided.clock)) == 1, "the verdict and its debt are one transaction"
    decided.engine.dispose()
    seam, survived, repeated = 0, False, 0
    while not survived:
        url = copy_of(ledger_url, tmp_path, f"seam-{seam}")
        clock = ManualClock(decided.clock.now())
        doomed = Yard(open_engine(url), clock)
        Axe(doomed.engine, seam)
        diary = Diary()
        try:
            pay(doomed, diary, "the one that dies")
            survived = True
        except Killed:
            seam += 1
        doomed.engine.dispose()
        clock.advance(owed.LEASE_SECONDS)
        repaired = Yard(open_engine(url), clock)
        pay(repaired, diary, "the next run")
        assert set(diary.done) == {done}, f"killed at seam {seam}"
        repeated += len(diary.done) - 1
        assert repaired.kinds(release).count("settled") == 1
        assert owed.unsettled(repaired.engine, clock) == []
        repaired.engine.dispose()
        drop(url)
    assert seam >= 5, "there are reads, a claim and a note to die at"
    assert repeated <= 2


def test_killed_in_the_follow_up_itself(small_yard: Yard) -> None:
    play(small_yard, small_yard.canary(), around(0.8, 0.8), rounds=40)
    with pytest.raises(Killed):
        pay(small_yard, Diary(Killed()))
    small_yard.clock.advance(owed.LEASE_SECONDS)
    pay(small_yard, diary := Diary(), "the next run")
    assert diary.done == [("warm", "promoted")]
