"""The gate's verdict by table, and its error rates on simulated evaluations."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.statistics.comparison import bootstrap_bounds, fewest_items, items_needed, mcnemar_worse
from tasks.statistics.gate import GateOutcome, GatePolicy, decide_gate
from tasks.statistics.gate_items import ItemResult
from tasks.statistics.gate_metric import MetricRule

QUICK = settings(max_examples=25, deadline=None)

POLICY = GatePolicy(metrics=(MetricRule("accuracy", margin=0.1),), resamples=500)


def item(number: int, now: float, before: float | None, **more: object) -> ItemResult:
    baseline = None if before is None else {"accuracy": (before,)}
    return ItemResult(f"q{number:03}", {"accuracy": (now,)}, baseline, **more)  # type: ignore[arg-type]


def many(count: int, now: float, before: float | None, start: int = 0, **more: object) -> list[ItemResult]:
    return [item(start + i, now, before, **more) for i in range(count)]


@pytest.mark.parametrize(
    ("items", "outcome", "words"),
    [
        pytest.param([], "error", "no items", id="nothing"),
        pytest.param(many(60, 0.9, 0.9), "pass", "accuracy 0.900 against 0.900 over 60 items", id="equal"),
        pytest.param(many(60, 0.95, 0.85), "pass", "60 rose", id="better"),
        pytest.param(many(60, 0.81, 0.95), "fail", "worse by more than 0.1", id="clearly worse"),
        pytest.param(many(60, 0.86, 0.95), "pass", "-0.090", id="a loss within the margin, without spread"),
        pytest.param(many(25, 0.9, 0.9), "inconclusive", "about 30 items would settle it", id="too few to show it"),
        pytest.param(many(10, 0.9, 0.9), "inconclusive", "10 items compared, 20 are the least", id="very few"),
        pytest.param(many(10, 0.1, 0.9), "inconclusive", "10 items compared", id="very few prove no harm"),
        pytest.param(many(60, 0.5, 0.5), "fail", "below the floor of 0.8", id="equally bad"),
        pytest.param(
            many(31, 1.0, 1.0) + many(9, 0.0, 0.0, 31),
            "inconclusive",
            "under the floor of 0.8, though",
            id="near floor",
        ),
        pytest.param(many(60, 0.9, None), "pass", "accuracy 0.900 over 60 items", id="first version"),
        pytest.param(many(60, 0.5, None), "fail", "below the floor", id="bad first version"),
        pytest.param(many(10, 0.9, None), "inconclusive", "10 items scored", id="first version, few items"),
        pytest.param(
            many(59, 0.9, 0.9) + many(1, 0.9, 0.9, 59, must_pass=(True, True, False)),
            "fail",
            "must-pass items failed: q059",
            id="must pass in every repeat",
        ),
        pytest.param(many(60, 0.9, 0.9, must_pass=(True, True)), "pass", "accuracy", id="all must-pass repeats pass"),
        pytest.param(
            many(59, 0.9, 0.9) + many(1, 0.9, 0.9, 59, must_pass=(True,), error="time-out"),
            "inconclusive",
            "must-pass items without a result: q059",
            id="must-pass item unevaluated",
        ),
        pytest.param(
            many(55, 0.9, 0.9) + many(5, 0.9, 0.9, 55, error="judge time-out"),
            "error",
            "5 of 60 items could not be evaluated: q055, q056, q057, q058, q059; the first says: judge time-out",
            id="too many errors",
        ),
        pytest.param(many(58, 0.9, 0.9) + many(2, 0.0, 0.9, 58, error="x"), "pass", "58 items", id="few errors"),
        pytest.param(
            [ItemResult(f"q{i}") for i in range(60)], "error", "no item has a score", id="metric never scored"
        ),
        pytest.param(
            many(30, 0.9, None) + many(10, 0.9, 0.9, 30),
            "inconclusive",
            "10 items compared",
            id="baseline on few items",
        ),
    ],
)
def test_verdicts(items: list[ItemResult], outcome: str, words: str) -> None:
    verdict = decide_gate(items, POLICY)
    assert verdict.outcome == outcome
    assert words in " | ".join(verdict.reasons)
    assert json.loads(json.dumps(verdict.to_json(), allow_nan=False))["outcome"] == outcome


def test_the_worst_items_are_named_first() -> None:
    items = [*many(50, 0.7, 1.0), item(90, 0.0, 1.0), item(91, 0.2, 1.0)]
    (reason, *_) = decide_gate(items, POLICY).reasons
    assert "worst items: q090 1.00 → 0.00; q091 1.00 → 0.20; q000 1.00 → 0.70" in reason


def test_a_slice_that_falls_is_named_even_when_the_mean_holds() -> None:
    items = many(200, 0.95, 0.93, tags=("easy",)) + many(10, 0.6, 0.9, 200, tags=("billing", "billing"))
    verdict = decide_gate(items, POLICY)
    assert verdict.outcome is GateOutcome.PASS
    assert verdict.reasons[-1] == "slice 'billing' fell on accuracy by 0.300 over 10 items"


def test_every_metric_must_hold_and_a_second_one_can_fail() -> None:
    policy = GatePolicy((MetricRule("accuracy", margin=0.1), MetricRule("tone", margin=0.1, floor=None)))
    items = [
        ItemResult(f"q{i}", {"accuracy": (0.9,), "tone": (0.3,)}, {"accuracy": (0.9,), "tone": (0.6,)})
        for i in range(60)
    ]
    verdict = decide_gate(items, policy)
    assert verdict.outcome is GateOutcome.FAIL
    assert [evidence.worse for evidence in verdict.metrics] == [False, True]


def test_repeats_are_averaged_within_an_item_which_stays_one_unit() -> None:
    once = [ItemResult(f"q{i}", {"accuracy": (0.9,)}, {"accuracy": (0.9,)}) for i in range(25)]
    thrice = [ItemResult(f"q{i}", {"accuracy": (1.0, 0.8, 0.9)}, {"accuracy": (0.9, 0.9, 0.9)}) for i in range(25)]
    assert decide_gate(thrice, POLICY).outcome is decide_gate(once, POLICY).outcome is GateOutcome.INCONCLUSIVE


def test_binary_harm_needs_the_exact_test_too() -> None:
    policy = GatePolicy((MetricRule("accuracy", margin=0.05, floor=None, binary=True),))
    verdict = decide_gate(many(60, 1.0, 1.0) + many(20, 0.0, 1.0, 60), policy)
    (evidence,) = verdict.metrics
    assert evidence.mcnemar_p == pytest.approx(0.5**20)
    assert verdict.outcome is GateOutcome.FAIL


def test_the_order_of_items_does_not_matter_and_the_verdict_is_reproducible() -> None:
    rng = np.random.default_rng(4)
    items = [item(i, float(now), float(before)) for i, (now, before) in enumerate(rng.random((80, 2)))]
    shuffled = [items[i] for i in rng.permutation(80)]
    assert decide_gate(items, POLICY) == decide_gate(shuffled, POLICY)


@QUICK
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=25, max_size=60), st.floats(0, 0.5))
def test_raising_every_candidate_score_never_turns_a_pass_into_anything_else(
    scores: list[tuple[float, float]], lift: float
) -> None:
    policy = GatePolicy((MetricRule("accuracy", margin=0.3, floor=0.3),), resamples=200)
    before = decide_gate([item(i, now, base) for i, (now, base) in enumerate(scores)], policy)
    after = decide_gate([item(i, min(1.0, now + lift), base) for i, (now, base) in enumerate(scores)], policy)
    mean_before, mean_after = (one.metrics[0].difference for one in (before, after))
    assert mean_before is not None
    assert mean_after is not None
    assert mean_after.mean >= mean_before.mean - 1e-12
    if before.outcome is GateOutcome.PASS:
        assert after.outcome is not GateOutcome.FAIL


@pytest.mark.parametrize(
    ("items", "words"),
    [(many(2, 0.5, 0.5) + many(1, 0.5, 0.5), "'q000' occurs twice"), (many(1, 1.5, 0.5), r"'q000'.*\[0, 1\]")],
)
def test_broken_input_is_refused_by_name(items: list[ItemResult], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decide_gate(items, POLICY)


@pytest.mark.parametrize(
    ("fell", "rose", "p"), [(0, 0, 1.0), (5, 0, 1 / 32), (0, 5, 1.0), (3, 1, 5 / 16), (8, 2, 56 / 1024)]
)
def test_exact_mcnemar(fell: int, rose: int, p: float) -> None:
    assert mcnemar_worse(fell, rose) == pytest.approx(p)


@pytest.mark.parametrize(("margin", "items"), [(0.05, 59), (0.10, 29), (0.01, 299)])
def test_fewest_items_follow_the_rule_of_three(margin: float, items: int) -> None:
    assert fewest_items(margin, 0.05) == items
    assert (1 - margin) ** items <= 0.05 < (1 - margin) ** (items - 1)


def test_items_needed() -> None:
    assert items_needed(0.0, 0.4, 0.05, 0.05) == math.ceil(((1.6448536 + 0.8416212) * 0.4 / 0.05) ** 2)
    assert items_needed(-0.05, 0.4, 0.05, 0.05) is None
    assert items_needed(0.0, 0.0, 0.05, 0.05) == 60


def test_bounds_of_many_values_agree_with_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(0.1, 0.2, 400)
    bounds = bootstrap_bounds(values, np.random.default_rng(2), alpha_lower=0.05, alpha_upper=0.05, worst=-1, usual=0.0)
    spread = 1.645 * values.std() / 20
    assert bounds.lower == pytest.approx(values.mean() - spread, abs=0.004)
    assert bounds.upper == pytest.approx(values.mean() + spread, abs=0.004)
    with pytest.raises(ValueError, match="at least one item"):
        bootstrap_bounds(np.array([]), np.random.default_rng(2), alpha_lower=0.05, alpha_upper=0.05, worst=-1)


def _shares(drop: float, evaluations: int, noise: float = 0.3) -> dict[str, float]:
    """200 items × 3 repeats; difficulty varies by item, each repeat by ± `noise`, never clipped: the drop is exact."""
    rng = np.random.default_rng(8)
    policy = GatePolicy((MetricRule("accuracy", margin=0.05, floor=None),), resamples=300)
    found: list[str] = []
    for _ in range(evaluations):
        ability = rng.uniform(0.4, 0.65, size=(200, 1))
        before = ability + rng.uniform(-noise, noise, (200, 3))
        now = ability - drop + rng.uniform(-noise, noise, (200, 3))
        items = [
            ItemResult(str(i), {"accuracy": now[i].tolist()}, {"accuracy": before[i].tolist()}) for i in range(200)
        ]
        found.append(decide_gate(items, policy).outcome.value)
    return {outcome: found.count(outcome) / evaluations for outcome in ("pass", "fail", "inconclusive")}


def test_an_equal_prompt_passes_and_does_not_fail() -> None:
    shares = _shares(0.0, evaluations=40)
    assert shares["pass"] >= 0.85
    assert shares["fail"] == 0.0


def test_a_drop_of_the_margin_passes_no_more_often_than_alpha_and_a_larger_one_fails() -> None:
    at_the_margin = _shares(0.05, evaluations=60)
    assert at_the_margin["pass"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)
    assert _shares(0.1, evaluations=20)["fail"] >= 0.9


@pytest.mark.parametrize("items", [40, 80])
def test_rare_large_falls_do_not_slip_through_a_small_set(items: int) -> None:
    """Falls of 1 on 5 % of the items, nothing else changes: exactly at the margin, where at most 5 % may pass."""
    rng = np.random.default_rng(21)
    policy = GatePolicy((MetricRule("accuracy", margin=0.05, floor=None, binary=True),), resamples=500)
    passed = 0
    for _ in range(100):
        falls = rng.random(items) < 0.05
        results = [item(i, 0.0 if fell else 1.0, 1.0) for i, fell in enumerate(falls)]
        passed += decide_gate(results, policy).outcome is GateOutcome.PASS
    assert passed / 100 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)


def test_a_few_items_that_break_do_not_hide_among_many_that_changed_a_little() -> None:
    """1 in 18 items falls from 0.9 to 0, every other one changes a little: exactly at the margin."""
    rng = np.random.default_rng(5)
    passed = 0
    for _ in range(600):
        before = rng.binomial(12, 0.9, 120) / 12
        now = np.where(rng.random(120) < 0.05 / 0.9, 0.0, rng.binomial(12, 0.9, 120) / 12)
        bounds = bootstrap_bounds(
            now - before, rng, alpha_lower=0.05, alpha_upper=0.05, worst=-1.0, usual=0.0, resamples=300
        )
        passed += bounds.lower > -0.05
    assert passed / 600 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 600)


def test_a_skewed_sample_is_trusted_less_below_and_a_constant_one_as_before() -> None:
    falls = np.concatenate([np.linspace(-0.1, 0.1, 90), np.full(6, -0.9)])
    rises = -falls
    level = {"alpha_lower": 0.05, "alpha_upper": 0.05, "usual": 0.0}
    below, above = (bootstrap_bounds(values, np.random.default_rng(3), **level) for values in (falls, rises))  # type: ignore[arg-type]
    assert below.mean - below.lower > 1.15 * (above.mean - above.lower)
    same = bootstrap_bounds(np.full(50, 0.2), np.random.default_rng(3), **level)  # type: ignore[arg-type]
    assert same.lower == same.upper == pytest.approx(0.2)
