"""A judge that moved is told from one that is merely unsteady."""

import numpy as np
import pytest

from tasks.statistics.judge_drift import JudgeState, decide_judge_drift


def scores(*counted: tuple[float, int]) -> list[float]:
    return [value for value, count in counted for _ in range(count)]


@pytest.mark.parametrize(
    ("then", "now", "state", "words"),
    [
        ([0.5] * 40, [0.5] * 40, "steady", "0 of 40 anchors score higher, 0 lower"),
        ([0.5] * 40, scores((0.75, 12), (0.5, 28)), "drifting", "the judge became milder: 12 of 40"),
        ([0.5] * 40, scores((0.25, 12), (0.5, 28)), "drifting", "the judge became stricter"),
        ([0.5] * 40, scores((0.25, 10), (0.75, 10), (0.5, 20)), "steady", "10 of 40 anchors score higher, 10 lower"),
        ([0.5] * 40, scores((0.75, 7), (0.5, 33)), "steady", "7 of 40"),
        ([0.5] * 40, scores((0.51, 40)), "steady", "+0.010 on average"),
        ([0.5] * 10, [0.5] * 8 + [None, None], "unknown", "2 of 10 anchors got no readable verdict"),
        ([0.5] * 10, [0.5] * 9 + [None], "steady", "0 of 9"),
        ([], [], "unknown", "0 of 0"),
    ],
)
def test_verdicts(then: list[float], now: list[float | None], state: str, words: str) -> None:
    found = decide_judge_drift(then, now)
    assert found.state == state
    assert words in found.reason


def test_lists_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        decide_judge_drift([0.5], [])


def test_an_unsteady_judge_is_rarely_called_drifting() -> None:
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(300):
        then, now = (rng.integers(0, 5, 60) / 4 for _ in range(2))
        alarms += decide_judge_drift(then.tolist(), now.tolist()).state is JudgeState.DRIFTING
    assert alarms <= 9
