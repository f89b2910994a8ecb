"""The share of right answers, corrected for how often the judge errs."""

import numpy as np
import pytest

from tasks.statistics.business import ArmUsers, JudgeErrors
from tasks.statistics.judged import Right, share_right

GOOD = JudgeErrors(true_resolved=900, missed=100, true_unresolved=800, false_resolved=200)
PERFECT = JudgeErrors(true_resolved=100_000, missed=0, true_unresolved=100_000, false_resolved=0)
BLIND = JudgeErrors(true_resolved=50, missed=50, true_unresolved=50, false_resolved=50)


def users(found_right: int, of: int) -> ArmUsers:
    """One judged call each."""
    ones, none = np.ones(of), np.zeros(of)
    right = np.concatenate([np.ones(found_right), np.zeros(of - found_right)])
    return ArmUsers(judged=ones, resolved=right, calls=ones, minutes=none, priced=none, dollars=none)


def found(stable: int, canary: int, judge: JudgeErrors, of: int = 2_000) -> Right:
    right = share_right(users(stable, of), users(canary, of), judge, seed=1)
    assert right is not None
    return right


def test_a_judge_without_errors_is_believed() -> None:
    right = found(1_600, 1_400, PERFECT)
    assert right.stable.judged.mean == pytest.approx(0.8, abs=0.005)
    assert right.stable.corrected.mean == pytest.approx(right.stable.judged.mean, abs=0.001)
    assert right.corrected_difference.upper < 0


@pytest.mark.parametrize("true", [0.5, 0.7, 0.9])
def test_the_correction_finds_the_true_share_again(true: float) -> None:
    """Sensitivity 0.9 and specificity 0.8 show a true share t as 0.9 t + 0.2 (1 - t)."""
    shown = round(2_000 * (0.9 * true + 0.2 * (1 - true)))
    arm = found(shown, shown, GOOD).stable
    assert arm.corrected.mean == pytest.approx(true, abs=0.01)
    assert arm.corrected.lower < true < arm.corrected.upper
    assert abs(arm.judged.mean - true) > 0.01 or true == 0.5


def test_few_labels_make_a_wide_interval() -> None:
    few = JudgeErrors(9, 1, 8, 2)
    assert _width(found(1_500, 1_500, few)) > 3 * _width(found(1_500, 1_500, GOOD))


def test_a_judge_that_guesses_says_nothing() -> None:
    assert _width(found(1_600, 1_400, BLIND)) > 0.8


def test_too_few_users_are_no_figure() -> None:
    assert share_right(users(4, 4), users(50, 60), GOOD, seed=1) is None


def test_the_same_seed_gives_the_same_figures() -> None:
    assert found(1_500, 1_400, GOOD) == found(1_500, 1_400, GOOD)


def _width(right: Right) -> float:
    return right.canary.corrected.upper - right.canary.corrected.lower
