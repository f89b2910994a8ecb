"""What an arm is worth: exact where it can be, honest where it cannot."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.statistics.business import ArmUsers, Impact, JudgeErrors, Values, impact

VALUES = Values(resolved=2.0, escalation=6.0, waiting_minute=0.3)


def users(shares: list[float], *, calls: int = 1, minutes: float = 0.05, dollars: float = 0.002) -> ArmUsers:
    """One entry a user: the share of the user's calls that is resolved."""
    each = np.full(len(shares), float(calls))
    return ArmUsers(each, np.array(shares) * calls, each, each * minutes, each, each * dollars)


def arm(n: int, resolved: int, **more: float) -> ArmUsers:
    return users([1.0] * resolved + [0.0] * (n - resolved), **more)  # type: ignore[arg-type]


def worth(stable: ArmUsers, canary: ArmUsers, judge: JudgeErrors | None = None, seed: int = 0) -> Impact:
    found = impact(stable, canary, VALUES, calls_per_year=10_000, judge=judge, seed=seed, draws=1_500)
    assert found is not None
    return found


def test_many_users_give_the_plain_arithmetic() -> None:
    found = worth(arm(20_000, 16_000), arm(20_000, 18_000))
    stable = 0.8 * 2 - 0.2 * 6 - 0.05 * 0.3 - 0.002
    canary = 0.9 * 2 - 0.1 * 6 - 0.05 * 0.3 - 0.002
    assert found.stable.per_1000_calls.mean == pytest.approx(1_000 * stable, abs=10)
    assert found.canary.per_1000_calls.mean == pytest.approx(1_000 * canary, abs=10)
    assert found.gain_per_year.mean == pytest.approx(10_000 * (canary - stable), rel=0.03)
    assert found.probability_of_loss == 0.0


def test_costs_and_waiting_count() -> None:
    slow = worth(arm(2_000, 1_600), arm(2_000, 1_600, minutes=1.05))
    dear = worth(arm(2_000, 1_600), arm(2_000, 1_600, dollars=0.302))
    assert slow.gain_per_1000_calls.mean == pytest.approx(-300, abs=40)
    assert dear.gain_per_1000_calls.mean == pytest.approx(-300, abs=40)


def test_equal_arms_lose_as_often_as_they_win() -> None:
    assert worth(arm(300, 240), arm(300, 240)).probability_of_loss == pytest.approx(0.5, abs=0.06)


def test_everything_resolved_is_not_certain() -> None:
    found = worth(arm(20, 20), arm(20, 20))
    assert found.stable.resolved.lower < 0.95
    assert found.stable.resolved.upper <= 1.0


def test_a_judge_that_errs_is_corrected_and_widens_the_interval() -> None:
    """Se 0.9, Sp 0.8: of 60 % truly resolved the judge says 0.6 · 0.9 + 0.4 · 0.2 = 62 %."""
    many, few = JudgeErrors(9_000, 1_000, 8_000, 2_000), JudgeErrors(18, 2, 16, 4)
    seen = arm(4_000, 2_480)
    exact, vague, raw = worth(seen, seen, many), worth(seen, seen, few), worth(seen, seen)
    assert exact.stable.resolved.mean == pytest.approx(0.6, abs=0.02)
    assert raw.stable.resolved.mean == pytest.approx(0.62, abs=0.01)
    assert _width(vague) > 2 * _width(raw)
    assert (exact.judge_corrected, raw.judge_corrected) == (True, False)


def test_a_judge_that_knows_nothing_leaves_everything_open() -> None:
    found = worth(arm(1_000, 500), arm(1_000, 900), JudgeErrors(50, 50, 50, 50))
    assert found.canary.resolved.lower < 0.2
    assert 0.1 < found.probability_of_loss < 0.9


def test_too_few_users_or_no_price_say_nothing() -> None:
    full, thin, free = arm(50, 40), arm(3, 3), arm(50, 40)
    assert impact(full, thin, VALUES, calls_per_year=1) is None
    unpriced = ArmUsers(free.judged, free.resolved, free.calls, free.minutes, free.priced * 0, free.dollars)
    assert impact(full, unpriced, VALUES, calls_per_year=1) is None


def test_users_who_agree_with_themselves_count_once() -> None:
    """50 users with 20 calls each, all or none resolved, know as much as 50 calls, not as 1,000."""
    clustered, independent = arm(50, 40, calls=20), arm(1_000, 800)
    assert _width(worth(clustered, clustered)) > 2.5 * _width(worth(independent, independent))


def test_the_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(5)
    truth = 1_000 * (0.8 * 2 - 0.2 * 6 - 0.05 * 0.3 - 0.002)
    held = 0
    for trial in range(150):
        drawn = users(list((rng.random(80) < 0.8).astype(float)))
        found = impact(drawn, drawn, VALUES, calls_per_year=1, seed=trial, draws=400)
        assert found is not None
        held += found.stable.per_1000_calls.lower <= truth <= found.stable.per_1000_calls.upper
    assert held / 150 >= 0.89


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=5, max_size=40),
    st.lists(st.floats(0, 1), min_size=5, max_size=40),
    st.one_of(st.none(), st.builds(JudgeErrors, *[st.integers(0, 50)] * 4)),
    st.integers(0, 10),
)
def test_whatever_comes(stable: list[float], canary: list[float], judge: JudgeErrors | None, seed: int) -> None:
    found, again = (
        impact(users(stable), users(canary), VALUES, calls_per_year=7, judge=judge, seed=seed, draws=50)
        for _ in range(2)
    )
    assert found == again, "the same seed gives the same figures"
    assert found is not None
    assert 0.0 <= found.probability_of_loss <= 1.0
    for one in (found.stable, found.canary):
        assert 0.0 <= one.resolved.lower <= one.resolved.upper <= 1.0
        assert one.per_1000_calls.lower <= one.per_1000_calls.upper
        assert all(map(math.isfinite, (one.per_year.mean, one.per_1000_calls.mean)))


def _width(found: Impact) -> float:
    return found.stable.resolved.upper - found.stable.resolved.lower
