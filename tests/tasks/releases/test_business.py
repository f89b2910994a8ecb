"""Declared values on a release's calls: who counts, what is said, and that a replay says it again."""

import random
from decimal import Decimal
from typing import Any

import pytest

from gateway.storage.engine import writing
from gateway.storage.models import CallRow, ReleaseRow
from tasks.certificates.charts import WORTH
from tasks.certificates.page import page
from tasks.certificates.record import certificate
from tasks.releases import reconcile, store
from tasks.releases.business import recommendation
from tasks.releases.replay import replay
from tasks.releases.stages import Stage
from tasks.specs.model import ValueSpec
from tasks.statistics.business import ArmValue, Estimate, Impact, Spread
from tests.tasks.releases.traffic import Quality, around
from tests.tasks.releases.yard import POLICY, Yard, live_call

VALUE = {"resolved": 2.0, "escalation": 6.0, "waiting_minute": 0.3, "resolved_from": 0.7}


def started(yard: Yard, value: dict[str, Any] | None) -> ReleaseRow:
    yard.promote("1.0.0")
    yard.register("1.1.0")
    policy = {"canary": dict(POLICY), "evidence_share_bp": 10_000, "value": value}
    release = store.open_release(yard.engine, yard.clock, tenant="acme", prompt="help", version="1.1.0", policy=policy)
    return reconcile.start_canary(yard.engine, yard.clock, release)[0]


def play(yard: Yard, release: ReleaseRow, quality: Quality, *, dollars: float = 0.01) -> ReleaseRow:
    """Users whose calls have a price; the candidate's costs ``dollars``."""
    dice = random.Random(4)
    for round_ in range(30):
        at, rows = yard.clock.now(), []
        for number in range(60):
            arm = "canary" if dice.random() < yard.release(release).weight / 10_000 else "stable"
            cost = Decimal(str(dollars if arm == "canary" else 0.01))
            call = live_call(yard.release(release), f"{round_}-{number}", arm, at + number / 3, cost_usd=cost)
            rows.append((call, quality(arm, dice)))
        yard.add_calls(rows)
        yard.clock.advance(120)
        yard.advance(release)
        if yard.release(release).open_slot is None:
            break
    return yard.release(release)


def verdict_of(yard: Yard, release: ReleaseRow) -> dict[str, Any]:
    found: dict[str, Any] = store.steps_of(yard.engine, release.id)[-1].evidence["business"]
    return found


def test_a_harmful_version_loses_money_and_the_certificate_says_so(small_yard: Yard) -> None:
    release = started(small_yard, VALUE)
    with writing(small_yard.engine) as session:
        row = live_call(release, "judge-1", "stable", small_yard.clock.now(), origin="judge", cost_usd=Decimal("0.5"))
        session.add(row)
    release = play(small_yard, release, around(0.9, 0.5))
    assert release.stage == Stage.ROLLED_BACK
    found = verdict_of(small_yard, release)
    assert found["probability_of_loss"] > 0.95
    assert "Rolling it back was right in money too" in found["recommendation"]
    assert found["testing"]["cost_usd"] > 0.5, "the judge's calls, and what canary users lost"
    assert found["testing"]["return"] > 0
    record = certificate(small_yard.engine, release.id)
    assert record["business"] == found
    shown = page(record)
    assert "What it is worth" in shown
    assert WORTH in shown
    spread = found["gain_spread"]
    assert sum(spread["shares"]) == pytest.approx(0.99, abs=0.005)
    assert spread["from"] < found["gain_per_1000_calls"]["mean"] < spread["to"] < 0


def test_a_replay_says_it_again_and_a_changed_cost_is_found(small_yard: Yard) -> None:
    release = play(small_yard, started(small_yard, VALUE), around(0.9, 0.5))
    assert replay(small_yard.engine, release.id).difference is None
    with writing(small_yard.engine) as session:
        session.get_one(CallRow, "0-1").cost_usd = Decimal("9")
    assert "its cost usd is not what it was" in str(replay(small_yard.engine, release.id).difference)


def test_a_good_version_that_costs_too_much_is_promoted_with_a_warning(small_yard: Yard) -> None:
    release = play(small_yard, started(small_yard, VALUE), around(0.95, 0.95), dollars=3.0)
    assert release.stage == Stage.PROMOTED
    assert "it does not pay" in verdict_of(small_yard, release)["recommendation"]


def test_a_year_is_what_is_declared_or_what_the_traffic_makes(small_yard: Yard) -> None:
    assert ValueSpec(resolved=1.0).calls_per_year(100, 3_600.0) == 100 * 24 * 365
    declared = play(small_yard, started(small_yard, {**VALUE, "calls_per_day": 50.0}), around(0.9, 0.5))
    found = verdict_of(small_yard, declared)
    assert found["calls_per_year"] == 50 * 365
    assert "a year at 50 calls a day" in found["recommendation"]
    assert "projected from the declared calls per day" in page(certificate(small_yard.engine, declared.id))


def test_a_year_from_minutes_is_said_to_be_a_guess(small_yard: Yard) -> None:
    release = play(small_yard, started(small_yard, VALUE), around(0.9, 0.5))
    assert "too short to know a year by" in page(certificate(small_yard.engine, release.id))


def test_without_declared_values_nothing_is_said(small_yard: Yard) -> None:
    release = play(small_yard, started(small_yard, None), around(0.9, 0.5))
    assert "business" not in store.steps_of(small_yard.engine, release.id)[-1].evidence
    assert certificate(small_yard.engine, release.id)["business"] is None


@pytest.mark.parametrize(
    ("loss", "stage", "words"),
    [
        (0.01, Stage.PROMOTED, "earns $10.00 more per 1,000 calls"),
        (0.01, Stage.ROLLED_BACK, "A guardrail still says that it does harm"),
        (0.01, Stage.CANARY, "worth promoting once"),
        (0.4, Stage.PROMOTED, "Money does not settle it"),
        (0.99, Stage.PROMOTED, "it does not pay"),
        (0.99, Stage.CANARY, "not worth promoting"),
    ],
)
def test_words(loss: float, stage: Stage, words: str) -> None:
    plain = Estimate(1.0, 0.5, 1.5)
    arm = ArmValue(9, 9, plain, 0.01, 0.1, plain, plain)
    spread = Spread(5.0, 15.0, (0.5, 0.5))
    gains = Estimate(10.0, 5.0, 15.0), Estimate(9e3, 1.0, 2e4)
    found = Impact(arm, arm, *gains, loss, 1e6, judge_corrected=False, gain_spread=spread)
    said = recommendation(found, stage)
    assert words in said
    assert "no calibration is declared" in said


@pytest.mark.parametrize(
    ("gain", "loss", "words"),
    [
        ((-98.59, -286.19, 39.29), 0.93, "may cost $98.59 more per 1,000 calls (95 %: −$39.29 to $286.19)"),
        ((-973.0, -1579.0, -251.0), 0.999, "costs $973.00 more per 1,000 calls (95 %: $251.00 to $1,579)"),
        ((98.59, -39.29, 286.19), 0.07, "may earn $98.59 more per 1,000 calls (95 %: −$39.29 to $286.19)"),
    ],
)
def test_the_figure_lies_within_its_interval(gain: tuple[float, float, float], loss: float, words: str) -> None:
    plain = Estimate(1.0, 0.5, 1.5)
    arm = ArmValue(9, 9, plain, 0.01, 0.1, plain, plain)
    found = Impact(
        arm,
        arm,
        Estimate(*gain),
        Estimate(*gain),
        loss,
        1e6,
        judge_corrected=True,
        gain_spread=Spread(5.0, 15.0, (0.5, 0.5)),
    )
    assert words in recommendation(found, Stage.CANARY)
