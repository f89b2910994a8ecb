"""Estimates of traffic: the figures of the design, and words for people."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.statistics.eprocess import Direction, EProcess
from tasks.statistics.power import Expectation, draw_users, expected_further_blocks, expected_users


@pytest.mark.parametrize(
    ("stable", "delta", "sd", "margin", "direction", "k", "mean", "p90"),
    [
        pytest.param(0.80, -0.05, 0.2, 0.0, Direction.WORSE, 4, 175, 313, id="scores fall"),
        pytest.param(0.99, -0.04, None, 0.0, Direction.WORSE, 1, 251, 491, id="failures 1 % to 5 %"),
        pytest.param(0.80, 0.0, 0.2, 0.05, Direction.BETTER, 4, 159, 295, id="equal, margin 0.05"),
    ],
)
def test_the_documented_figures(
    stable: float, delta: float, sd: float | None, margin: float, direction: Direction, k: int, mean: int, p90: int
) -> None:
    found = expected_users(
        stable_mean=stable, delta=delta, sd=sd, margin=margin, direction=direction, k=k, simulations=200, horizon=1_000
    )
    assert found.median == pytest.approx(mean, rel=0.2)
    assert found.p90 == pytest.approx(p90, rel=0.2)


def test_more_is_needed_for_a_smaller_margin_less_alpha_and_more_guardrails() -> None:
    def median(**changes: float) -> int:
        usual = {
            "stable_mean": 0.8,
            "delta": 0.0,
            "sd": 0.2,
            "margin": 0.1,
            "alpha": 0.05,
            "tests": 1,
            "simulations": 60,
            "horizon": 1_000,
        }
        return expected_users(**{**usual, **changes}).median or 10**9  # type: ignore[arg-type]

    assert median() < median(margin=0.05)
    assert median() < median(alpha=0.01)
    assert median() < median(tests=4)
    assert median(sd=0.1) < median(sd=0.3)
    assert median(k=4) < median(k=1)


def test_the_same_seed_gives_the_same_answer() -> None:
    first, second = (expected_users(stable_mean=0.8, delta=0, sd=0.2, margin=0.1, simulations=50) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("mean", "sd"), [(0.8, 0.2), (0.5, 0.1), (0.99, None), (1.0, None), (0.3, 0.0)])
def test_users_are_drawn_with_the_stated_mean_and_spread(mean: float, sd: float | None) -> None:
    users = draw_users(np.random.default_rng(0), mean, sd, (50_000,))
    assert users.min() >= 0
    assert users.max() <= 1
    assert users.mean() == pytest.approx(mean, abs=0.005)
    assert users.std() == pytest.approx((mean * (1 - mean)) ** 0.5 if sd is None else sd, abs=0.005)


def test_a_process_near_its_threshold_needs_less() -> None:
    fresh = EProcess(Direction.BETTER, 0.45)
    later = fresh
    for _ in range(40):
        later = later.update(0.5)
    values = np.array([0.4, 0.5, 0.6])
    before, after = (expected_further_blocks(state, values, alpha=0.05) for state in (fresh, later))
    assert before.median is not None
    assert after.median is not None
    assert after.median < before.median


def test_looking_ahead_needs_something_to_look_at() -> None:
    with pytest.raises(ValueError, match="at least one observed block"):
        expected_further_blocks(EProcess(Direction.BETTER, 0.45), np.array([]), alpha=0.05)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        expected_users(stable_mean=0.8, delta=0.3, sd=0.1)


@pytest.mark.parametrize(
    ("expectation", "per_day", "words"),
    [
        (
            Expectation(175, 313, 180.0, 1.0, 2_000),
            40,
            "about 175 canary users (313 for 9 of 10 releases); at 40 users a day this takes 5 days",
        ),
        (
            Expectation(175, None, None, 0.8, 2_000),
            None,
            "about 175 canary users (more than 2000 for 9 of 10 releases)",
        ),
        (Expectation(175, None, None, 0.8, 2_000), 0, "about 175 canary users (more than 2000 for 9 of 10 releases)"),
        (
            Expectation(None, None, None, 0.1, 2_000),
            40,
            "more than 2000 canary users; relax the margin or use graded scores",
        ),
    ],
)
def test_in_words(expectation: Expectation, per_day: float | None, words: str) -> None:
    assert expectation.in_words(per_day) == words
