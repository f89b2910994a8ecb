"""A release's mirror stage in the ledger: what it compares, where it goes, what is routed, and its replay."""

from typing import Any

import pytest
from sqlalchemy import select

from gateway.ledger.queries import calls_between, frequent_questions, release_calls, version_metrics
from gateway.storage.engine import reading, writing
from gateway.storage.models import CallRow, ReleaseLookRow, ReleaseRow, ReleaseStepRow, ScoreRow
from gateway.types import Route
from tasks.releases import reconcile, store
from tasks.releases.mirror_evidence import PREFERRED
from tasks.releases.mirror_stage import open_pairs
from tasks.releases.owed import unsettled
from tasks.releases.replay import replay
from tasks.releases.sealing import PATIENCE, seal_closed
from tasks.releases.stages import Stage
from tests.tasks.releases.mirrors import arrive, mirrored_policy, mirrored_release, pair
from tests.tasks.releases.yard import Yard

REJECTED: dict[str, Any] = {"status": "failed", "error": "provider_rejected_request", "answer": None, "attempts": []}


def route(yard: Yard) -> Route:
    table = yard.routing()
    assert table is not None
    (found,) = table.routes
    return found


def judge(yard: Yard, identity: str, value: float, at: float) -> None:
    with writing(yard.engine) as session:
        session.add(
            ScoreRow(
                call_id=identity, metric=PREFERRED, source="judge", tenant="acme", value=value, reason="", scored_at=at
            )
        )


def test_it_begins_with_every_user_on_the_version_in_production(yard: Yard) -> None:
    release = mirrored_release(yard)
    assert (release.stage, release.weight, yard.kinds(release)) == (Stage.MIRROR, 0, ["registered", "mirroring"])
    found = route(yard)
    assert ([arm.version.version for arm in found.arms], found.release, found.evidence_share) == (["1.0.0"], "", 0)
    assert found.mirror is not None
    assert (found.mirror.version.version, found.mirror.share, found.mirror.release) == ("1.1.0", 1_000, release.id)
    assert found.mirror.version.daily_budget_usd == 1.0, "a purse of its own"


def test_enough_pairs_without_harm_lead_to_the_first_users(yard: Yard) -> None:
    release = mirrored_release(yard)
    arrive(yard, release, 12)
    report = yard.advance(release)
    assert report is not None
    assert report.move is not None
    assert (report.release.stage, report.move.kind, report.table) == (Stage.MIRROR, "held", None)
    assert "12 of 20" in report.release.reason
    arrive(yard, release, 8, name="more")
    yard.advance(release)
    release = yard.release(release)
    assert (release.stage, release.weight) == (Stage.CANARY, 2_500)
    assert yard.kinds(release) == ["registered", "mirroring", "held", "started"]
    assert yard.weights() == {"1.0.0": 7_500, "1.1.0": 2_500}
    assert route(yard).mirror is None
    assert release_calls(yard.engine, release.id) == [], "mirrored calls are no evidence of the canary"
    seen = store.steps_of(yard.engine, release.id)[-1].evidence["mirror"]
    assert (seen["decision"]["pairs"], seen["described"]["same_text"]) == (20, 1.0)
    yard.advance(release)
    assert replay(yard.engine, release.id).difference is None


def test_a_look_without_news_changes_nothing(small_yard: Yard) -> None:
    release = mirrored_release(small_yard)
    arrive(small_yard, release, 3)
    small_yard.advance(release)
    before = (small_yard.release(release).revision, small_yard.kinds(release))
    small_yard.clock.advance(60)
    small_yard.advance(release)
    assert (small_yard.release(release).revision, small_yard.kinds(release)) == before


@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        (REJECTED, "failure"),
        ({"attempts": [{"latency_ms": 900.0, "error": ""}]}, "latency"),
        ({"cost_usd": 0.1}, "cost"),
    ],
    ids=["failure", "latency", "cost"],
)
def test_a_candidate_that_is_clearly_worse_is_refused_before_any_user_saw_it(
    small_yard: Yard, changes: dict[str, Any], metric: str
) -> None:
    release = mirrored_release(small_yard)
    arrive(small_yard, release, 14, **changes)
    small_yard.advance(release)
    release = small_yard.release(release)
    assert (release.stage, release.open_slot) == (Stage.REFUSED, None)
    assert metric in release.reason
    assert small_yard.weights() == {"1.0.0": 10_000}
    assert [debt.owed for debt in unsettled(small_yard.engine, small_yard.clock, release.id)] == ["alert"]
    found = replay(small_yard.engine, release.id)
    assert (found.difference, [one.kind for one in found.verdicts]) == (None, ["refused"])


def test_the_gates_assertions_and_the_judge_refuse_too(small_yard: Yard) -> None:
    yard = small_yard
    yard.promote("1.0.0")
    yard.register("1.1.0")
    gate = {"assertions": [{"type": "contains", "value": "thirty"}], "judge": {"model": "openai/judge"}}
    for harm in ("assertions", "preferred"):
        opened = store.open_release(
            yard.engine,
            yard.clock,
            tenant="acme",
            prompt="help",
            version="1.1.0",
            policy={"canary": mirrored_policy(calls=40, judged=20), "gate": gate},
        )
        release, _ = reconcile.start_canary(yard.engine, yard.clock, opened)
        arrive(yard, release, 14, name=harm, answer="Ninety." if harm == "assertions" else "Thirty!")
        if harm == "preferred":
            waiting = open_pairs(yard.engine, release, PREFERRED)
            assert len(waiting) == 14
            for number, one in enumerate(waiting):
                judge(yard, one.id, 0.0, yard.clock.now() + number)
            assert open_pairs(yard.engine, release, PREFERRED) == []
        yard.advance(release)
        release = yard.release(release)
        assert (release.stage, harm in release.reason) == (Stage.REFUSED, True)
        assert replay(yard.engine, release.id).difference is None
        yard.clock.advance(100)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fell_back": True}, "answered by a fallback"),
        ({"live_fell_back": True}, "answered by a fallback"),
        ({"status": "failed", "error": "all_providers_failed"}, "the mirrored call failed outside of the prompt"),
        ({"live_status": "failed", "live_error": "provider_timeout"}, "the live call failed outside of the prompt"),
        ({"live_user": ""}, "no user"),
        ({"live_user": "ada"}, "another call of a user who counts already"),
        ({"live_version": "0.9.0"}, "answered by another version"),
    ],
)
def test_pairs_that_say_nothing_neither_start_a_canary_nor_prove_harm(
    small_yard: Yard, changes: dict[str, Any], reason: str
) -> None:
    release = mirrored_release(small_yard)
    arrive(small_yard, release, 25, **changes)
    small_yard.advance(release)
    assert small_yard.release(release).stage == Stage.MIRROR
    small_yard.clock.advance(2 * 3600)
    small_yard.advance(release)
    release = small_yard.release(release)
    assert release.stage == Stage.INCONCLUSIVE
    assert reason in release.reason
    assert "canary.mirror.share" in release.reason
    assert replay(small_yard.engine, release.id).difference is None


def test_a_live_call_whose_gateway_died_before_the_candidate_was_asked_is_no_pair(small_yard: Yard) -> None:
    release = mirrored_release(small_yard)
    with writing(small_yard.engine) as session:
        session.add_all(pair(release, "alone", 5.0)[:1])
        session.add_all(pair(release, "lost", 5.0)[1:])
    report = small_yard.advance(release)
    assert report is not None
    assert report.evidence["mirror"]["decision"]["pairs"] == 0


def test_a_pair_that_comes_late_stands_behind_those_that_were_decided_on(small_yard: Yard) -> None:
    release = mirrored_release(small_yard)
    small_yard.clock.advance(1_000)
    arrive(small_yard, release, 5, name="first", **REJECTED)
    small_yard.advance(release)
    with writing(small_yard.engine) as session:
        session.add_all(pair(release, "late", 1.0))
    small_yard.advance(release)
    looks = [step.evidence for step in store.steps_of(small_yard.engine, release.id) if "mirror" in step.evidence]
    (before, after) = [one["mirror"]["decision"]["metrics"][0] for one in looks]
    assert (before["losses"], after["pairs"]) == (5, 6)
    assert after["log_e_max"] == before["log_e_max"], "the past is not rewritten"
    assert replay(small_yard.engine, release.id).difference is None


def test_mirrored_calls_are_nobodys_frequencies_drift_or_metrics(small_yard: Yard) -> None:
    release = mirrored_release(small_yard)
    arrive(small_yard, release, 3)
    assert [one.version for one in version_metrics(small_yard.engine, "acme", "help")] == ["1.0.0"]
    assert len(calls_between(small_yard.engine, "acme", "help", 0.0, 1e12)) == 3
    with writing(small_yard.engine) as session:
        for row in session.scalars(select(CallRow)):
            row.variables = {"question": row.origin}
    asked = frequent_questions(small_yard.engine, "acme", "help", 0.0, 10)
    assert {one.variables["question"] for one in asked} == {"live"}


def closed(yard: Yard) -> ReleaseRow:
    release = mirrored_release(yard)
    arrive(yard, release, 4, name="fine")
    yard.advance(release)
    arrive(yard, release, 12, name="bad", **REJECTED)
    yard.advance(release)
    release = yard.release(release)
    assert release.stage == Stage.REFUSED
    return release


def test_a_sealed_mirror_replays(yard: Yard) -> None:
    release = closed(yard)
    arrive(yard, release, 1, name="under way at the verdict")
    yard.clock.advance(PATIENCE + 1)
    assert release.id in seal_closed(yard.engine, yard.clock)
    found = replay(yard.engine, release.id)
    assert (found.difference, found.sealed, found.looks) == (None, True, 2)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("update calls set answer='Ninety.' where id='mirror-fine-2'", "mirror-fine-2: its answer is not what it was"),
        ("update calls set answer='Ninety.' where id='live-fine-2'", "its live answer is not what it was"),
        ("update calls set cost_usd=9 where id='live-fine-1'", "its live cost usd is not what it was"),
        ("update calls set status='ok' where id='mirror-bad-3'", "mirror-bad-3: its status is not what it was"),
        ("update calls set \"user\"='somebody' where id='live-bad-3'", "its user is not what it was"),
        ("delete from calls where id='live-bad-3'", "mirror-bad-3 is not in the ledger any more"),
        ("update release_steps set reason='fine' where kind='refused'", "step 4 of the release is not what it was"),
        ("delete from release_looks where kind='mirror' and seq=1", "is not in the ledger any more"),
    ],
)
def test_a_changed_row_makes_the_replay_fail(small_yard: Yard, change: str, what: str) -> None:
    release = closed(small_yard)
    small_yard.clock.advance(PATIENCE + 1)
    seal_closed(small_yard.engine, small_yard.clock)
    with small_yard.engine.begin() as connection:
        assert connection.exec_driver_sql(change).rowcount == 1
    found = replay(small_yard.engine, release.id)
    assert found.difference is not None
    assert what in str(found.difference) or "reason comes out differently" in str(found.difference)


def test_an_added_pair_makes_a_sealed_replay_fail(small_yard: Yard) -> None:
    release = closed(small_yard)
    small_yard.clock.advance(PATIENCE + 1)
    seal_closed(small_yard.engine, small_yard.clock)
    arrive(small_yard, release, 1, name="added")
    found = replay(small_yard.engine, release.id)
    assert "mirror-added-0 was not in the ledger" in str(found.difference)


def test_a_changed_verdict_is_noticed_before_the_seal_too(small_yard: Yard) -> None:
    release = closed(small_yard)
    with writing(small_yard.engine) as session:
        steps = select(ReleaseStepRow).where(ReleaseStepRow.release_id == release.id, ReleaseStepRow.kind == "refused")
        step = session.scalars(steps).one()
        step.kind = "started"
    found = replay(small_yard.engine, release.id)
    assert found.difference is not None


def test_a_run_that_dies_between_looking_and_deciding_is_made_up_for(small_yard: Yard) -> None:
    from tasks.releases.looks import keep_mirror_look
    from tasks.releases.mirror_look import MirrorShown
    from tasks.releases.mirror_stage import pairs_in_order

    release = mirrored_release(small_yard)
    arrive(small_yard, release, 20)
    pairs, _ = pairs_in_order(small_yard.engine, release.id)
    started = store.steps_of(small_yard.engine, release.id)[-1].at
    keep_mirror_look(small_yard.engine, release, MirrorShown(pairs, started, small_yard.clock.now()))
    small_yard.clock.advance(60)
    small_yard.advance(release)
    release = small_yard.release(release)
    assert release.stage == Stage.CANARY
    with reading(small_yard.engine) as session:
        assert len(session.scalars(select(ReleaseLookRow)).all()) == 2
    assert replay(small_yard.engine, release.id).difference is None


def test_a_rollback_by_hand_ends_a_mirror(small_yard: Yard) -> None:
    release = mirrored_release(small_yard)
    store.roll_back(small_yard.engine, small_yard.clock, tenant="acme", prompt="help", actor="ada")
    assert small_yard.release(release).stage == Stage.ROLLED_BACK
    assert route(small_yard).mirror is None


def test_answers_without_a_word_are_compared_too(small_yard: Yard) -> None:
    release = mirrored_release(small_yard)
    arrive(small_yard, release, 20, answer=" ", live_answer="\n")
    report = small_yard.advance(release)
    assert report is not None
    assert report.release.stage == Stage.CANARY
    assert report.evidence["mirror"]["described"]["shared_words"] == 1.0, "both say the same: nothing"
