"""The e-process: its formula, its validity at every look, and its power."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.statistics.eprocess import (
    Direction,
    EProcess,
    FloatArray,
    block_value,
    boundary_mean,
    log_e_paths,
    log_threshold,
)
from tasks.statistics.power import draw_users

QUICK = settings(max_examples=50, deadline=None)

UNIT = st.floats(0.0, 1.0, allow_nan=False)
WORSE, BETTER = Direction.WORSE, Direction.BETTER


@pytest.mark.parametrize(
    ("canary", "stable", "expected"), [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.7, 0.7, 0.5), (0.8, 0.6, 0.6)]
)
def test_block_value(canary: float, stable: float, expected: float) -> None:
    assert block_value(canary, stable) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [-0.01, 1.01, math.nan, math.inf])
def test_values_outside_the_unit_interval_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        block_value(bad, 0.5)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        EProcess(WORSE, 0.5).update(bad)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        EProcess(WORSE, 0.5).after(np.array([0.5, bad]))


@pytest.mark.parametrize("bad", [-1.0, 1.0, 2.0])
def test_a_boundary_at_the_extremes_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="boundary"):
        boundary_mean(bad)


def test_three_steps_by_hand() -> None:
    """m = ½, worse, X = 0.3, 0.2, 1: λ₁ = 0, μ̂₁ = 0.4, σ̂²₁ = 0.13, λ₂ = 0.1/0.14; λ₃ = min(…, 1)."""
    state = EProcess(WORSE, 0.5).update(0.3)
    assert [state.mean, state.variance, state.log_e] == pytest.approx([0.4, 0.13, 0.0])
    state = state.update(0.2)
    assert state.log_e == pytest.approx(math.log(1 + 0.1 / 0.14 * 0.3))
    mean, variance = 1.0 / 3.0, (0.25 + 0.01 + (0.2 - 1 / 3) ** 2) / 3
    assert [state.mean, state.variance] == pytest.approx([mean, variance])
    assert state.bet == 1.0  # 1.38 is capped at ½ / (1 − m)
    after = state.update(1.0)
    assert after.log_e == pytest.approx(state.log_e + math.log(0.5))
    assert after.log_e_max == state.log_e


@QUICK
@given(st.lists(UNIT, max_size=40), st.floats(-0.9, 0.9))
def test_better_mirrors_worse(values: list[float], difference: float) -> None:
    worse, better = EProcess(WORSE, boundary_mean(difference)), EProcess(BETTER, boundary_mean(-difference))
    for x in values:
        worse, better = worse.update(x), better.update(1.0 - x)
    assert worse.log_e == pytest.approx(better.log_e, abs=1e-9)


@QUICK
@given(st.lists(UNIT, min_size=1, max_size=40), st.floats(0.05, 0.95), st.sampled_from(Direction), st.data())
def test_vectorised_paths_equal_updates_from_any_start(
    values: list[float], boundary: float, direction: Direction, data: st.DataObject
) -> None:
    split = data.draw(st.integers(0, len(values) - 1))
    state = EProcess(direction, boundary)
    for x in values[:split]:
        state = state.update(x)
    paths = log_e_paths(np.array([values[split:]]), state)
    batch = state.after(np.array(values[split:]))
    for x, log_e in zip(values[split:], paths[0], strict=True):
        state = state.update(x)
        assert state.log_e == pytest.approx(log_e, abs=1e-9)
    assert dataclasses.astuple(batch)[2:] == pytest.approx(dataclasses.astuple(state)[2:], abs=1e-9)


@QUICK
@given(st.lists(UNIT, max_size=30), st.floats(0.05, 0.95), st.sampled_from(Direction))
def test_wealth_stays_positive_and_the_next_bet_is_fair_at_the_boundary(
    values: list[float], boundary: float, direction: Direction
) -> None:
    """For the extreme two-point law with mean m, the expected factor is exactly 1, whatever came before."""
    state = EProcess(direction, boundary)
    for x in values:
        state = state.update(x)
    up, down = (math.exp(state.update(x).log_e - state.log_e) for x in (1.0, 0.0))
    assert min(up, down) >= 0.5 - 1e-12
    assert boundary * up + (1.0 - boundary) * down == pytest.approx(1.0)


@QUICK
@given(st.lists(UNIT, max_size=30), UNIT, UNIT)
def test_a_lower_next_value_is_never_less_evidence_of_harm(values: list[float], one: float, other: float) -> None:
    state = EProcess(WORSE, 0.5)
    for x in values:
        state = state.update(x)
    assert state.update(min(one, other)).log_e >= state.update(max(one, other)).log_e


@QUICK
@given(st.lists(UNIT, max_size=60))
def test_once_decided_always_decided(values: list[float]) -> None:
    state, decided = EProcess(WORSE, 0.5), False
    for x in values:
        state = state.update(x)
        assert state.decided(0.2) >= decided
        assert state.log_e_max >= max(0.0, state.log_e)
        decided = state.decided(0.2)


def test_the_threshold_shares_alpha() -> None:
    assert log_threshold(0.05) == pytest.approx(math.log(20))
    assert log_threshold(0.05, 4) == pytest.approx(math.log(80))


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("boundary", [0.3, 0.475, 0.5])
def test_the_average_e_is_one_at_the_boundary(direction: Direction, boundary: float) -> None:
    """A test martingale: E[Eₙ] = 1 when the mean is exactly m, and P(sup E ≥ 20) ≤ 0.05."""
    releases, looks = 20_000, 60
    coin = np.random.default_rng(7).random((releases, looks)) < boundary
    paths = log_e_paths(coin.astype(np.float64), EProcess(direction, boundary))
    for look in (1, 5, 20):
        e = np.exp(paths[:, look - 1])
        assert abs(e.mean() - 1.0) <= 4 * e.std() / math.sqrt(releases) + 1e-12
    false_alarms = (paths.max(axis=1) >= log_threshold(0.05)).mean()
    assert false_alarms <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / releases)


def _block_values(
    mean: float, drop: float, sd: float | None, k: int, releases: int, blocks: int, seed: int
) -> FloatArray:
    rng = np.random.default_rng(seed)
    canary = draw_users(rng, mean - drop, sd, (releases, blocks))
    stable = draw_users(rng, mean, sd, (releases, blocks, k)).mean(axis=-1)
    values: FloatArray = (canary - stable + 1.0) / 2.0
    return values


@pytest.mark.parametrize(("mean", "sd"), [(0.8, 0.2), (0.99, None), (0.5, None)])
@pytest.mark.parametrize("k", [1, 4])
def test_equal_arms_raise_no_more_alarms_than_promised(mean: float, sd: float | None, k: int) -> None:
    """300 A/A releases, looked at after each of 600 canary users; the naive test on the same data alarms far more."""
    x = _block_values(mean, 0.0, sd, k, releases=300, blocks=600, seed=3)
    alarms = (log_e_paths(x, EProcess(WORSE, 0.5)).max(axis=1) >= log_threshold(0.05)).mean()
    assert alarms <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_a_naive_repeated_t_test_would_alarm_far_more() -> None:
    x = _block_values(0.8, 0.0, 0.2, 4, releases=300, blocks=600, seed=3)
    n = np.arange(1, 601)
    mean = x.cumsum(axis=1) / n
    sd = np.sqrt(np.maximum((x**2).cumsum(axis=1) / n - mean**2, 1e-12))
    t = (mean - 0.5) / (sd / np.sqrt(n))
    assert (t[:, 20:] <= -1.645).any(axis=1).mean() > 0.2


def test_the_margin_itself_is_promoted_no_more_often_than_promised() -> None:
    x = _block_values(0.8, 0.05, 0.2, 4, releases=300, blocks=600, seed=5)
    promoted = (log_e_paths(x, EProcess(BETTER, boundary_mean(-0.05))).max(axis=1) >= log_threshold(0.05)).mean()
    assert promoted <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(
    ("mean", "drop", "sd", "within"), [(0.80, 0.05, 0.2, 400), (0.99, 0.04, None, 520)], ids=["scores", "failures"]
)
def test_harm_is_found_with_four_guardrails_and_four_stable_users(
    mean: float, drop: float, sd: float | None, within: int
) -> None:
    """Nine of ten releases are rolled back within so many canary users (failures are shown as 1 − failure)."""
    x = _block_values(mean, drop, sd, 4, releases=600, blocks=within, seed=11)
    found = (log_e_paths(x, EProcess(WORSE, 0.5)).max(axis=1) >= log_threshold(0.05, 4)).mean()
    assert found >= 0.9
