"""Corrected shares of right answers: kept with the release, replayed, and on its certificate."""

from typing import Any

from gateway.storage.models import ReleaseRow
from tasks.certificates.page import page
from tasks.certificates.record import certificate
from tasks.releases import reconcile, store
from tasks.releases.judged import LabelCounts, judged_rows, keep_counts, known_counts
from tasks.releases.replay import replay
from tests.tasks.releases.traffic import around, play
from tests.tasks.releases.yard import POLICY, Yard

COUNTS = {
    "judge": "abc123",
    "model": "openai/gpt-4.1",
    "right_from": 0.5,
    "true_right": 90,
    "missed": 10,
    "true_wrong": 80,
    "false_right": 20,
}


def started(yard: Yard, judge: dict[str, Any] | None) -> ReleaseRow:
    yard.promote("1.0.0")
    yard.register("1.1.0")
    policy = {"canary": dict(POLICY), "evidence_share_bp": 10_000, "judge": judge}
    release = store.open_release(yard.engine, yard.clock, tenant="acme", prompt="help", version="1.1.0", policy=policy)
    return reconcile.start_canary(yard.engine, yard.clock, release)[0]


def test_what_is_reported_is_replayed_and_shown(small_yard: Yard) -> None:
    release = play(small_yard, started(small_yard, COUNTS), around(0.7, 0.3), rounds=30)
    assert release.stage == "rolled_back"
    record = certificate(small_yard.engine, release.id)
    found = record["judged"]
    assert (found["judge"], found["labelled"]) == ("abc123", 200)
    stable, canary, difference = judged_rows(found)
    assert canary["corrected"] < stable["corrected"]
    assert difference["to"] < 0, "the whole interval says that it fell"
    assert replay(small_yard.engine, release.id).holds
    text = page(record)
    assert "Right answers" in text
    assert "200 labelled examples" in text


def test_a_judge_that_was_not_calibrated_corrects_nothing(small_yard: Yard) -> None:
    release = play(small_yard, started(small_yard, None), around(0.7, 0.3), rounds=30)
    record = certificate(small_yard.engine, release.id)
    assert record["judged"] is None
    assert "Right answers" not in page(record)


def test_a_calibration_stands_until_the_next_one(small_yard: Yard) -> None:
    engine, clock = small_yard.engine, small_yard.clock
    assert known_counts(engine, "acme", "abc123") is None
    keep_counts(engine, clock, "acme", LabelCounts(**COUNTS))
    keep_counts(engine, clock, "acme", LabelCounts(**{**COUNTS, "missed": 7}))
    again = known_counts(engine, "acme", "abc123")
    assert again is not None
    assert again.missed == 7
    assert known_counts(engine, "other", "abc123") is None
