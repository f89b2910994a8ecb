"""Which items are repeated, and why what is repeated may confirm harm but not rule it out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.statistics.gate import GateOutcome, GatePolicy, decide_gate
from tasks.statistics.gate_items import ItemResult
from tasks.statistics.gate_metric import MetricRule
from tasks.statistics.repeats import Allowance, RepeatPlan, plan_repeats

RULE = MetricRule("score", margin=0.05, floor=None)
POLICY = GatePolicy((RULE,), resamples=300)
UNLIMITED = Allowance()


def item(name: str, now: tuple[float, ...], before: tuple[float, ...] | None, error: str | None = None) -> ItemResult:
    return ItemResult(name, {"score": now}, None if before is None else {"score": before}, error=error)


ITEMS = [
    item("same", (0.5, 0.5), (0.5, 0.5)),
    item("fell", (0.2, 0.2), (0.9, 0.9)),
    item("rose", (0.9, 0.9), (0.5, 0.5)),
    item("flaky", (1.0, 0.0), (0.5, 0.5)),
    item("flaky-before", (0.5, 0.5), (0.0, 1.0)),
    item("broken", (0.0,), (1.0,), error="no answer"),
    item("new", (0.0,), None),
]


@pytest.mark.parametrize(
    ("allowance", "times", "plan"),
    [
        (UNLIMITED, 2, RepeatPlan(("fell", "rose", "flaky", "flaky-before"), 2, 0)),
        (UNLIMITED, 0, RepeatPlan((), 0, 4)),
        (Allowance(calls=16, calls_each=4), 2, RepeatPlan(("fell", "rose"), 2, 2)),
        (Allowance(calls=15, calls_each=4), 2, RepeatPlan(("fell",), 2, 3)),
        (Allowance(usd=0.05, usd_each=0.01), 1, RepeatPlan(("fell", "rose", "flaky", "flaky-before"), 1, 0)),
        (Allowance(usd=0.01, usd_each=0.004), 2, RepeatPlan(("fell",), 2, 3)),
        (Allowance(calls=-3), 1, RepeatPlan((), 1, 4)),
        (Allowance(calls=100, usd=0.0, usd_each=0.1), 1, RepeatPlan((), 1, 4)),
        (Allowance(usd=0.0, usd_each=0.0), 1, RepeatPlan(("fell", "rose", "flaky", "flaky-before"), 1, 0)),
    ],
)
def test_what_changed_or_is_flaky_is_repeated_as_far_as_it_can_be_paid(
    allowance: Allowance, times: int, plan: RepeatPlan
) -> None:
    assert plan_repeats(ITEMS, "score", times, allowance) == plan


@given(
    calls=st.integers(0, 200),
    each=st.integers(1, 6),
    times=st.integers(1, 5),
    changes=st.lists(st.floats(-1, 1), max_size=40),
)
def test_no_plan_is_over_its_allowance(calls: int, each: int, times: int, changes: list[float]) -> None:
    items = [item(str(at), (0.5 + change / 2,), (0.5,)) for at, change in enumerate(changes)]
    plan = plan_repeats(items, "score", times, Allowance(calls=calls, calls_each=each))
    assert plan.repeats * each <= calls
    assert len(plan.items) + plan.left_out <= len(items)


def repeated(name: str, now: float, before: float, again_now: float, again_before: float) -> ItemResult:
    more = ({"score": (again_now,) * 4}, {"score": (again_before,) * 4})
    return ItemResult(name, {"score": (now,)}, {"score": (before,)}, more_candidate=more[0], more_baseline=more[1])


def test_harm_that_repeats_do_not_confirm_is_inconclusive_and_real_harm_fails() -> None:
    same = [item(f"s{at}", (1.0,), (1.0,)) for at in range(60)]
    by_chance = [repeated(f"c{at}", 0.0, 1.0, 1.0, 1.0) for at in range(20)]
    real = [repeated(f"c{at}", 0.0, 1.0, 0.0, 1.0) for at in range(20)]
    unsure = decide_gate(same + by_chance, POLICY)
    assert unsure.outcome is GateOutcome.INCONCLUSIVE
    assert unsure.reasons[0].startswith("repeats did not confirm the harm")
    harmed = decide_gate(same + real, POLICY)
    assert harmed.outcome is GateOutcome.FAIL
    assert [one.candidate for one in harmed.metrics[0].regressions] == [0.0] * 5


def test_added_repeats_cannot_let_a_version_pass() -> None:
    """Falls on a third of the items: repeats that all come out right do not make the planned ones unseen."""
    items = [repeated(f"c{at}", 0.0, 1.0, 1.0, 1.0) for at in range(20)] + [
        item(f"s{at}", (1.0,), (1.0,)) for at in range(40)
    ]
    assert decide_gate(items, POLICY).outcome is not GateOutcome.PASS


def _evaluation(rng: np.random.Generator, drop: float, items: int = 200) -> list[ItemResult]:
    """Each answer is right with 0.9 before, with 0.9 − drop now; what changed at first is asked four times more."""
    before, now = rng.random((items, 5)) < 0.9, rng.random((items, 5)) < 0.9 - drop
    rows = []
    for at in range(items):
        again = now[at, 0] != before[at, 0]
        rows.append(
            ItemResult(
                f"q{at}",
                {"score": (float(now[at, 0]),)},
                {"score": (float(before[at, 0]),)},
                more_candidate={"score": now[at, 1:].astype(float).tolist()} if again else {},
                more_baseline={"score": before[at, 1:].astype(float).tolist()} if again else {},
            )
        )
    return rows


def test_pooling_what_was_repeated_for_its_result_hides_a_drop() -> None:
    """Why the planned repeats alone decide a pass: the pooled mean shows less than half of a drop of 0.1."""
    rng = np.random.default_rng(5)
    planned, pooled = [], []
    for _ in range(60):
        for one in _evaluation(rng, 0.1):
            planned.append(one.difference("score") or 0.0)
            before, now = one.repeated_means("score") or (0.0, 0.0)
            pooled.append(now - before)
    assert np.mean(planned) == pytest.approx(-0.1, abs=0.02)
    assert np.mean(pooled) == pytest.approx(-0.041, abs=0.01)


def test_with_adaptive_repeats_a_drop_of_the_margin_passes_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(6)
    passed = sum(decide_gate(_evaluation(rng, 0.05), POLICY).outcome is GateOutcome.PASS for _ in range(60))
    assert passed / 60 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)
