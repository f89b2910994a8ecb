"""From p-values and rows to a verdict."""

from dataclasses import dataclass

import pytest

from tasks.statistics.drift import Columns, Outcome, column_threshold, comparable, decide_drift, one_per_user

ROWS = (60, 80)
ALPHA = 0.02


@pytest.mark.parametrize(
    ("columns", "embedding", "rows", "outcome", "drifted"),
    [
        ({"a": 0.5, "b": 0.5}, 0.5, ROWS, Outcome.STEADY, ()),
        ({"a": 0.004, "b": 0.5}, 0.5, ROWS, Outcome.DRIFT, ("a",)),  # under 0.02 / 2 / 2
        ({"a": 0.006, "b": 0.5}, 0.5, ROWS, Outcome.STEADY, ()),  # one of two columns: not enough
        ({"a": 0.5}, 0.009, ROWS, Outcome.DRIFT, ("embeddings",)),
        ({"a": 0.5}, 0.011, ROWS, Outcome.STEADY, ()),
        ({"a": 0.001, "b": 0.001}, 0.001, ROWS, Outcome.DRIFT, ("a", "b", "embeddings")),
        ({"a": 0.001}, None, ROWS, Outcome.DRIFT, ("a",)),
        ({}, None, ROWS, Outcome.STEADY, ()),
        ({"a": 0.0}, 0.0, (49, 80), Outcome.TOO_FEW, ()),  # few rows are no verdict, whatever they say
        ({"a": 0.0}, 0.0, (60, 49), Outcome.TOO_FEW, ()),
    ],
)
def test_verdict(
    columns: dict[str, float],
    embedding: float | None,
    rows: tuple[int, int],
    outcome: Outcome,
    drifted: tuple[str, ...],
) -> None:
    verdict = decide_drift(columns, embedding, rows, alpha=ALPHA, min_rows=50)
    assert (verdict.outcome, verdict.drifted) == (outcome, drifted)
    assert verdict.reasons


def test_all_columns_together_err_with_half_of_alpha() -> None:
    assert column_threshold(0.02, 4) * 4 == pytest.approx(0.01)


def test_columns_need_values_in_both_windows_and_more_than_one_value() -> None:
    current: Columns = {
        "good": [1.0, 2.0, None],
        "rare": [1.0, None, None],
        "same": [3.0, 3.0, 3.0],
        "new": [1.0, 2.0, 3.0],
    }
    reference: Columns = {"good": [1.0, 1.0], "rare": [1.0, 2.0], "same": [3.0, 3.0]}
    assert comparable(current, reference, 2) == ("good",)


@dataclass
class Seen:
    id: str
    user: str
    started_at: float


def test_a_user_counts_once_and_strangers_each() -> None:
    calls = [
        Seen("late", "ann", 9.0),
        Seen("early", "ann", 1.0),
        Seen("x", "", 2.0),
        Seen("y", "", 3.0),
        Seen("b", "bob", 1.0),
    ]
    assert sorted(one_per_user(calls)) == ["b", "late", "x", "y"]
