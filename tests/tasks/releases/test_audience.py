"""Who asks a prompt, from calls in the ledger on both databases."""

from typing import Any

import pytest

from gateway.storage.models import CallRow
from tasks.releases.audience import audience, expected
from tasks.releases.forecast import DAY, Audience, Forecast, forecast
from tasks.specs.model import CanarySpec
from tests.tasks.releases.yard import Yard, live_call


def asked(yard: Yard, users: int, *, score: float | None = 0.9, **changes: Any) -> None:
    """Each asks twice, evenly over the last two days."""
    release = yard.canary()
    now = yard.clock.now()
    rows: list[tuple[CallRow, float | None]] = []
    for number in range(users):
        at = now - 2 * DAY + 2 * DAY * number / users
        value = None if score is None else (score if number % 2 else score - 0.2)
        for turn in range(2):
            call = live_call(release, f"{number}-{turn}", "stable", at, user=f"u{number}", **changes)
            rows.append((call, value))
    yard.add_calls(rows)


def test_different_users_a_day_and_their_means(yard: Yard) -> None:
    asked(yard, 80)
    found = audience(yard.engine, "acme", "help", now=yard.clock.now())
    assert found.users_a_day == pytest.approx(40.0)
    assert found.since_hours == pytest.approx(48.0)
    assert found.quality_mean == pytest.approx(0.8)
    assert found.quality_sd == pytest.approx(0.1)
    assert found.failures == 0.0


def test_other_peoples_calls_and_those_of_nobody_do_not_count(yard: Yard) -> None:
    asked(yard, 80)
    now = yard.clock.now()
    assert audience(yard.engine, "other", "help", now=now).users_a_day == 0.0
    assert audience(yard.engine, "acme", "shop", now=now).users_a_day == 0.0
    assert audience(yard.engine, "acme", "help", now=now, seconds=DAY).users_a_day == pytest.approx(40.0, rel=0.05)


@pytest.mark.parametrize("changes", [{"origin": "gate"}, {"user": ""}, {"kind": "embedding"}])
def test_what_is_no_live_call_of_a_user_does_not_count(small_yard: Yard, changes: dict[str, Any]) -> None:
    release = small_yard.canary()
    small_yard.add_calls([(live_call(release, "c", "stable", small_yard.clock.now() - 60, **changes), None)])
    assert audience(small_yard.engine, "acme", "help", now=small_yard.clock.now()).users_a_day == 0.0


def test_failures_that_the_prompt_can_cause_count_and_few_scores_are_no_spread(small_yard: Yard) -> None:
    asked(small_yard, 20, status="failed", error="provider_rejected_request")
    found = audience(small_yard.engine, "acme", "help", now=small_yard.clock.now())
    assert found.failures == 1.0
    assert (found.quality_mean, found.quality_sd) == (0.8, 0.2)


def test_an_outage_is_no_failure_of_the_prompt(small_yard: Yard) -> None:
    asked(small_yard, 40, score=None, status="failed", error="all_providers_failed")
    assert audience(small_yard.engine, "acme", "help", now=small_yard.clock.now()).failures == 0.0


def test_scores_that_are_all_or_nothing_are_told_as_such(small_yard: Yard) -> None:
    release = small_yard.canary()
    now = small_yard.clock.now()
    rows = [(live_call(release, f"{n}", "stable", now - 7_200 + n), float(n % 4 > 0)) for n in range(60)]
    small_yard.add_calls(rows)
    found = audience(small_yard.engine, "acme", "help", now=now)
    assert found.quality_mean == pytest.approx(0.75)
    assert found.quality_sd is None


def test_a_few_minutes_are_not_taken_for_a_day(small_yard: Yard) -> None:
    release = small_yard.canary()
    now = small_yard.clock.now()
    small_yard.add_calls([(live_call(release, f"{n}", "stable", now - 60 + n), None) for n in range(10)])
    assert audience(small_yard.engine, "acme", "help", now=now).users_a_day == pytest.approx(240.0)


def test_a_first_version_has_no_canary_to_expect(small_yard: Yard) -> None:
    def said() -> Forecast | None:
        return expected(small_yard.engine, CanarySpec(), "acme", "help", now=small_yard.clock.now())

    assert said() is None
    small_yard.register("0.9.0")
    assert said() is None
    small_yard.promote("1.0.0")
    second = said()
    assert second is not None
    assert second.in_words().startswith("nobody has asked yet")


def test_what_is_expected_rests_on_who_asked(small_yard: Yard) -> None:
    asked(small_yard, 400)
    said = expected(small_yard.engine, CanarySpec(), "acme", "help", now=small_yard.clock.now())
    assert said is not None
    assert said.in_words().startswith("at 200 users a day an equal version is promoted after about ")
    assert said.days is not None
    assert said.days < forecast(CanarySpec(), Audience(200.0, quality_sd=0.2)).days  # type: ignore[operator]
