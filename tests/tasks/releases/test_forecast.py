"""What is expected of a canary before it starts, held against releases that are played through."""

import numpy as np
import pytest

from tasks.releases.forecast import DAY, Audience, Forecast, forecast, timeline
from tasks.specs.model import CanarySpec
from tests.bench.canary_ledger import Quality, release
from tests.bench.forecast_check import unlike

PLAN = CanarySpec()


def test_what_is_expected_is_what_happens() -> None:
    """A small version of ``make bench ARGS=canary-power``: 5 equal releases at 1,000 users a day."""
    expected = forecast(PLAN, Audience(1_000.0))
    found = [
        release(
            Quality(),
            PLAN,
            np.random.default_rng(seed),
            users_a_minute=1_000 / 1_440,
            every=4_800.0,
            longest=6 * DAY,
            simple=True,
        )
        for seed in range(5)
    ]
    assert expected.days is not None
    assert unlike(expected.days, float(np.median([one.hours / 24 for one in found]))) < 2.0


def test_fewer_users_a_smaller_margin_and_a_small_share_matter_as_one_would_think() -> None:
    def days(users: float = 500.0, **changes: object) -> float:
        return forecast(CanarySpec.model_validate(changes), Audience(users)).days or 99.0

    assert days() < days(users=150.0)
    assert days() < days(margin=0.04)
    assert days() < days(steps=[10])


def test_the_same_plan_gives_the_same_answer() -> None:
    assert forecast(PLAN, Audience(300.0)) == forecast(PLAN, Audience(300.0))


def test_where_traffic_is_too_small_it_says_so_and_what_would_help() -> None:
    slow = forecast(PLAN, Audience(40.0))
    assert slow.days is None
    (way, days), *_ = slow.alternatives
    assert way == "with a margin of 0.1"
    assert days < 14
    assert slow.in_words().startswith("at 40 users a day the canary will hardly be decided within its 14 days; with a")
    yes_or_no = forecast(PLAN, Audience(100.0, quality_sd=None))
    assert "with graded scores" in dict(yes_or_no.alternatives)
    assert "with steps up to 50 %" in dict(forecast(CanarySpec(steps=(10.0,)), Audience(100.0)).alternatives)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (Forecast(0.0, None, None, None, 14.0, 0.05), "nobody has asked yet"),
        (Forecast(3.2, None, None, None, 14.0, 0.05), "at 3.2 users a day the canary will hardly be decided within"),
        (
            Forecast(40.0, 9.0, 13.8, 360, 20.0, 0.05, (("with a margin of 0.1", 4.0),)),
            "at 40 users a day an equal version is promoted after about 9 days, 360 canary users (9 of 10: 14 days); "
            "with a margin of 0.1: 4 days",
        ),
        (Forecast(5_000.0, 0.04, None, 300, 14.0, 0.05), "about 58 minutes, 300 canary users (9 of 10: more than 14"),
    ],
)
def test_in_words(expected: Forecast, words: str) -> None:
    assert words in expected.in_words()


def test_a_timeline_forms_blocks_as_the_plan_says() -> None:
    line = timeline(CanarySpec(steps=(10.0, 50.0), block_stable_users=4), 20_000.0, np.random.default_rng(1))
    assert set(line.k) == {4, 1}
    assert list(line.k) == sorted(line.k, reverse=True)
    assert (np.diff(line.days) >= 0).all()
    assert list(line.canary_users) == sorted(line.canary_users)
    assert line.days[0] * DAY >= PLAN.window + PLAN.scoring_grace
