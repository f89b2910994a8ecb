"""A canary from its first share to the verdict, on synthetic traffic; leases, expiry, and what repeats do."""

import pytest

from gateway.storage.engine import reading
from gateway.storage.models import ReleaseBlockRow
from tasks.releases import reconcile, store
from tasks.releases.stages import Stage
from tests.tasks.releases.traffic import around, play
from tests.tasks.releases.yard import POLICY, Yard


def blocks(yard: Yard) -> list[tuple[int, float, dict[str, object]]]:
    with reading(yard.engine) as session:
        rows = session.query(ReleaseBlockRow).order_by(ReleaseBlockRow.seq).all()
    return [(row.seq, row.formed_at, row.body) for row in rows]


def test_a_worse_candidate_is_rolled_back(small_yard: Yard) -> None:
    release = play(small_yard, small_yard.canary(), around(0.9, 0.4), rounds=20)
    assert release.stage == Stage.ROLLED_BACK
    assert "quality" in release.reason
    assert small_yard.weights() == {"1.0.0": 10_000}
    assert store.get_prompt(small_yard.engine, "acme", "help").production == "1.0.0"


def test_an_equal_candidate_is_promoted_step_by_step(small_yard: Yard) -> None:
    release = play(small_yard, small_yard.canary(), around(0.8, 0.8), rounds=40)
    assert release.stage == Stage.PROMOTED
    kinds = small_yard.kinds(release)
    assert (kinds[:2], kinds.count("advanced"), kinds[-1]) == (["registered", "started"], 1, "promoted")
    assert small_yard.weights() == {"1.1.0": 10_000}
    last = store.steps_of(small_yard.engine, release.id)[-1]
    assert last.evidence["decision"]["outcome"] == "promote"
    assert last.evidence["decision"]["blocks"] == len(blocks(small_yard))


def test_a_candidate_whose_parameters_providers_reject_is_rolled_back(small_yard: Yard) -> None:
    changes = {"status": "failed", "error": "provider_rejected_request"}
    release = play(small_yard, small_yard.canary(), around(0.8, 0.8), rounds=20, canary=changes)
    assert release.stage == Stage.ROLLED_BACK
    assert "failure" in release.reason
    assert small_yard.weights() == {"1.0.0": 10_000}


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "failed", "error": "all_providers_failed"},
        {"fell_back": True},
        {"layer": "exact"},
        {"evidence": False},
    ],
    ids=str,
)
def test_what_says_nothing_about_the_prompt_neither_promotes_nor_proves_harm(
    small_yard: Yard, changes: dict[str, object]
) -> None:
    release = play(small_yard, small_yard.canary(), around(0.9, 0.1), rounds=6, canary=changes)
    assert (release.stage, blocks(small_yard)) in [(Stage.CANARY, []), (Stage.INCONCLUSIVE, [])]
    assert store.get_prompt(small_yard.engine, "acme", "help").production == "1.0.0"


def test_a_reconcile_without_news_changes_nothing(small_yard: Yard) -> None:
    release = play(small_yard, small_yard.canary(), around(0.8, 0.8), rounds=1, users=12)
    before = (blocks(small_yard), small_yard.kinds(release), small_yard.routing(), release.revision)
    report = small_yard.advance(release)
    assert report is not None
    assert report.move is not None
    assert (report.move.kind, report.table) == ("held", None)
    release = small_yard.release(release)
    assert (blocks(small_yard), small_yard.kinds(release), small_yard.routing(), release.revision) == before
    assert blocks(small_yard), "the first reconcile has formed some"


def test_later_looks_never_rewrite_a_block(small_yard: Yard) -> None:
    release = play(small_yard, small_yard.canary(), around(0.8, 0.8), rounds=2)
    before = blocks(small_yard)
    play(small_yard, release, around(0.8, 0.8), rounds=2, seed=8)
    assert len(blocks(small_yard)) > len(before) > 0
    assert blocks(small_yard)[: len(before)] == before


def test_time_is_up(small_yard: Yard) -> None:
    release = small_yard.canary(policy={**POLICY, "max_duration": 500})
    small_yard.clock.advance(501)
    small_yard.advance(release)
    assert small_yard.release(release).stage == Stage.INCONCLUSIVE
    assert small_yard.weights() == {"1.0.0": 10_000}


def test_a_held_release_is_left_to_its_holder(small_yard: Yard) -> None:
    release = small_yard.canary()
    store.acquire_lease(small_yard.engine, small_yard.clock, release.id, "another", reconcile.LEASE_SECONDS)
    assert small_yard.advance(release) is None
    small_yard.clock.advance(reconcile.LEASE_SECONDS)
    report = small_yard.advance(release)
    assert report is not None
    assert small_yard.release(release).lease_owner == "", "it is given back"


def test_a_closed_release_is_left_alone(small_yard: Yard) -> None:
    release = small_yard.promote("1.0.0")
    assert small_yard.advance(release) is None


def test_a_gate_that_never_ended_is_closed_after_an_hour(small_yard: Yard) -> None:
    small_yard.register("1.0.0")
    release = small_yard.open("1.0.0")
    small_yard.clock.advance(reconcile.GATING_PATIENCE - 1)
    waiting = small_yard.advance(release)
    assert waiting is not None
    assert (waiting.move, waiting.note) == (None, "waits: gating")
    small_yard.clock.advance(1)
    small_yard.advance(release)
    closed = small_yard.release(release)
    assert (closed.stage, closed.open_slot) == (Stage.ERROR, None)
    assert "release it again" in closed.reason
    assert small_yard.open("1.0.0").id != release.id


def test_a_release_that_awaits_approval_waits_for_as_long_as_it_takes(small_yard: Yard) -> None:
    small_yard.register("1.0.0")
    release, _ = small_yard.move(small_yard.open("1.0.0"), Stage.AWAITING_APPROVAL)
    small_yard.clock.advance(30 * 86_400)
    report = small_yard.advance(release)
    assert report is not None
    assert report.note == "waits: awaiting_approval"


def test_a_first_version_goes_straight_to_everybody(small_yard: Yard) -> None:
    small_yard.register("1.0.0")
    row, table = reconcile.start_canary(
        small_yard.engine, small_yard.clock, small_yard.open("1.0.0"), approved_by="somebody"
    )
    assert (row.stage, row.approved_by, row.weight) == (Stage.PROMOTED, "somebody", 10_000)
    assert table == small_yard.routing()
