"""The embedding test: its error probability, its power, and its value by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.statistics.mmd import mmd_test


def normal(seed: int, rows: int, shift: float = 0.0, dimensions: int = 32) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=(rows, dimensions)) + shift).astype(np.float32)


def test_value_by_hand() -> None:
    """Three points at distance 0 or 2: the median distance is 2, the kernel 1 within and e^-1/2 across."""
    current = np.array([[0.0], [0.0]], dtype=np.float32)
    reference = np.array([[2.0], [2.0]], dtype=np.float32)
    found = mmd_test(current, reference, np.random.default_rng(0), permutations=9)
    assert found.value == pytest.approx(2.0 - 2.0 * np.exp(-0.5))
    assert found.rows == (2, 2)


def test_small_shift_in_many_dimensions_is_found() -> None:
    found = mmd_test(normal(1, 300, shift=0.2), normal(2, 300), np.random.default_rng(3), permutations=399)
    assert found.p_value == 1 / 400


def test_false_alarms_are_as_rare_as_promised() -> None:
    """At level 5 %, of 200 pairs without a difference 10 are expected; more than 20 has probability 0.1 %."""
    alarms = sum(
        mmd_test(normal(seed, 30), normal(seed + 1000, 40), np.random.default_rng(seed), permutations=99).p_value
        <= 0.05
        for seed in range(200)
    )
    assert 1 <= alarms <= 20


def test_rows_that_are_all_the_same_are_no_drift() -> None:
    same = np.ones((10, 4), dtype=np.float32)
    found = mmd_test(same, same, np.random.default_rng(0), permutations=99)
    assert found.p_value == 1.0
    assert found.value == pytest.approx(0.0)


def test_seed_decides_and_rows_are_bounded() -> None:
    current, reference = normal(1, 80), normal(2, 90)
    found = [mmd_test(current, reference, np.random.default_rng(5), 49, max_rows=50) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0].rows == (50, 50)


@pytest.mark.parametrize(("rows", "dimensions"), [(1, 3), (5, 2)])
def test_what_cannot_be_compared_is_refused(rows: int, dimensions: int) -> None:
    with pytest.raises(ValueError, match=r"rows|compared"):
        mmd_test(normal(1, rows, dimensions=dimensions), normal(2, 5, dimensions=3), np.random.default_rng(0))
