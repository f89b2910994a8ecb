"""A judge's agreement with labels: against published figures, its intervals by simulation, what it does to a margin."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.statistics.agreement import calibrate, kappa, share

booleans = st.tuples(st.booleans(), st.booleans())


def pairs(both: int, missed: int, false_alarm: int, neither: int) -> list[tuple[bool, bool]]:
    """Labelled right and judged right, and so on."""
    counts = ((True, True, both), (True, False, missed), (False, True, false_alarm), (False, False, neither))
    return [(label, judged) for label, judged, count in counts for _ in range(count)]


@pytest.mark.parametrize(
    ("cells", "value"),
    [((20, 5, 10, 15), 0.4), ((45, 15, 25, 15), 0.1304), ((25, 35, 5, 35), 0.2593), ((0, 10, 10, 0), -1.0)],
)
def test_kappa_of_worked_examples(cells: tuple[int, int, int, int], value: float) -> None:
    assert kappa(pairs(*cells)).value == pytest.approx(value, abs=1e-4)


def test_perfect_agreement_on_few_examples_is_not_certain() -> None:
    few, many = kappa(pairs(5, 0, 0, 5)), kappa(pairs(150, 0, 0, 150))
    assert few.value == many.value == 1.0
    assert few.low < 0.85 < many.low < 1.0


def test_one_category_says_nothing() -> None:
    assert kappa([("a", "a")] * 9).low == -1.0
    with pytest.raises(ValueError, match="at least one"):
        kappa([])


@pytest.mark.parametrize(("n", "right", "sensitivity", "specificity"), [(60, 0.5, 0.9, 0.8), (120, 0.7, 0.95, 0.6)])
def test_the_interval_of_kappa_covers(n: int, right: float, sensitivity: float, specificity: float) -> None:
    rng = np.random.default_rng(3)
    p = np.array(
        [[right * sensitivity, right * (1 - sensitivity)], [(1 - right) * (1 - specificity), (1 - right) * specificity]]
    )
    expected = p.sum(axis=1) @ p.sum(axis=0)
    truth = (np.trace(p) - expected) / (1 - expected)
    covered = 0
    for _ in range(200):
        cells = rng.multinomial(n, p.ravel())
        found = kappa(pairs(*cells))
        covered += found.low <= truth <= found.high
    assert covered / 200 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 200)


@given(st.lists(booleans, min_size=1, max_size=60))
def test_intervals_hold_their_estimates(examples: list[tuple[bool, bool]]) -> None:
    found = calibrate(examples, 0.05)
    shown = (found.kappa, found.sensitivity, found.specificity, found.youden)
    assert all(one.low <= one.value + 1e-12 and one.value <= one.high + 1e-12 for one in shown if one)
    if found.margin_carried is not None:
        assert found.margin_carried >= found.margin


def test_shares_have_exact_intervals() -> None:
    found = share(0, 10)
    assert (found.low, found.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ((190, 10, 10, 190), ()),
        ((75, 25, 25, 75), ("too weak for a margin of 0.05",)),
        ((50, 50, 50, 50), ("agreement may be chance", "may not tell right from wrong")),
        ((4, 0, 0, 4), ("may not tell right from wrong",)),
        ((9, 1, 0, 0), ("no example is labelled wrong",)),
        ((0, 0, 1, 9), ("no example is labelled right",)),
    ],
)
def test_a_judge_too_weak_for_the_margin_is_called_so(cells: tuple[int, int, int, int], words: tuple[str, ...]) -> None:
    found = calibrate(pairs(*cells), 0.05)
    said = " | ".join(found.warnings)
    assert all(word in said for word in words)
    assert found.carries is not bool(words)


def test_a_true_difference_is_seen_times_j() -> None:
    """The formula on a large simulation: two versions 0.1 apart, a judge of sensitivity 0.9 and specificity 0.7."""
    rng = np.random.default_rng(1)

    def seen(rate: float) -> float:
        right = rng.random(400_000) < rate
        return float(np.where(right, rng.random(right.size) < 0.9, rng.random(right.size) < 0.3).mean())

    assert seen(0.9) - seen(0.8) == pytest.approx(0.1 * (0.9 + 0.7 - 1), abs=0.004)
    found = calibrate(pairs(90, 10, 30, 70), 0.05)
    assert found.items_factor == pytest.approx(1 / 0.6**2)
