"""What a gate may take is known before it starts, and refused when it is too much."""

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.types import ModelRef, PromptVersion
from tasks.gate_estimate import CallCosts, Sizes, call_costs, estimate, left_for_repeats, over_budget
from tasks.gate_rules import gate_policy
from tasks.specs.model import GateBudgetSpec, GateSpec
from tasks.statistics.repeats import Allowance
from tests.tasks.rows import add, call_row

COSTS = CallCosts(answer=0.001, verdict=0.01, measured=True)
BOTH = Sizes(golden=60, must_pass=20, live=40, versions=2)


def gate(**changes: Any) -> GateSpec:
    return GateSpec.model_validate(changes)


@pytest.mark.parametrize(
    ("changes", "sizes", "pack", "calls"),
    [
        ({}, BOTH, 1, 200 + 20 + 200),
        ({"repeats": 3}, BOTH, 1, 3 * (200 + 20 + 200)),
        ({}, Sizes(60, 20, 0, 1), 1, 60 + 20 + 60),
        ({"evaluators": [{"type": "pairwise"}]}, BOTH, 1, 200 + 20 + 200 + 2 * 60),
        ({"evaluators": [{"type": "pairwise"}]}, Sizes(60, 0, 0, 1), 1, 60 + 60),
        ({}, Sizes(80, 0, 0, 1), 8, 80 + 80 + 10),
    ],
)
def test_calls_are_counted_as_if_nothing_were_cached(
    changes: dict[str, Any], sizes: Sizes, pack: int, calls: int
) -> None:
    assert estimate(gate(**changes), sizes, COSTS, pack=pack).calls == calls


@pytest.mark.parametrize(
    ("costs", "budget", "words"),
    [
        (COSTS, {}, ""),
        (COSTS, {"calls": 420, "usd": 2.22}, ""),
        (COSTS, {"calls": 419}, "at most 420 calls and $2.22 (the ledger's mean), gate.budget allows 419 calls"),
        (COSTS, {"usd": 2.0}, "gate.budget allows $2.00"),
        (
            CallCosts(None, 0.01),
            {"usd": 2.0},
            "an unknown price (guessed from lengths): gate.budget.usd cannot be kept",
        ),
        (CallCosts(None, 0.01), {"calls": 500}, ""),
    ],
)
def test_more_than_the_budget_does_not_start(costs: CallCosts, budget: dict[str, Any], words: str) -> None:
    said = over_budget(estimate(gate(), BOTH, costs), GateBudgetSpec(**budget))
    assert words in said
    assert bool(said) is bool(words)


def test_what_the_planned_repeats_leave_is_for_added_ones() -> None:
    found = estimate(gate(), BOTH, COSTS)
    assert (found.each_calls, found.each_usd) == (4, pytest.approx(0.022))
    left = left_for_repeats(found, GateBudgetSpec(calls=440, usd=2.30))
    assert (left.calls, left.calls_each, left.repeats()) == (20, 4, 3)
    assert left_for_repeats(found, GateBudgetSpec()) == Allowance(None, None, 4, pytest.approx(0.022))


def version(number: str, model: str = "gpt-4.1-mini") -> PromptVersion:
    return PromptVersion(
        tenant="acme",
        name="help",
        version=number,
        digest="d",
        template=({"role": "user", "content": "x" * 4000},),
        chain=(ModelRef("openai", model),),
    )


def test_costs_are_the_ledgers_where_it_has_any(ledger: Engine) -> None:
    guessed = call_costs(ledger, [version("1.0.0")], "openai/gpt-4.1")
    assert guessed.measured is False
    assert 0 < (guessed.answer or 0) < (guessed.verdict or 0) < 0.1
    add(
        ledger,
        call_row("a", cost_usd=Decimal("0.02")),
        call_row("b", cost_usd=Decimal("0.04")),
        call_row("cached", layer="exact", cost_usd=Decimal(0)),
        call_row("c", version="1.1.0", cost_usd=Decimal("0.05")),
        call_row("d", tenant="other", cost_usd=Decimal(9)),
        call_row("j", prompt="", version="", origin="judge", model="gpt-4.1", cost_usd=Decimal("0.5")),
    )
    found = call_costs(ledger, [version("1.0.0"), version("1.1.0")], "openai/gpt-4.1")
    assert (found.answer, found.verdict, found.measured) == (pytest.approx(0.05), pytest.approx(0.5), True)


def test_a_model_without_a_price_is_unknown_not_free(ledger: Engine) -> None:
    assert call_costs(ledger, [version("1.0.0", "made-up-model")], "openai/gpt-4.1").answer is None


@pytest.mark.parametrize(
    ("changes", "compared", "live", "metrics"),
    [
        ({}, True, 0, ["score"]),
        ({}, True, 59, ["score", "live_questions"]),
        ({}, True, 58, ["score"]),
        ({}, False, 500, ["score"]),
        ({"margin": 0.1}, True, 29, ["score", "live_questions"]),
        ({"floors": {"accuracy": 0.9}}, True, 0, ["score", "accuracy"]),
        ({"evaluators": [{"type": "pairwise"}, {"type": "similarity"}]}, True, 0, ["score", "preferred", "similarity"]),
        ({"evaluators": [{"type": "pairwise"}, {"type": "similarity"}]}, False, 0, ["score", "similarity"]),
        ({"evaluators": [{"type": "similarity", "decides": False}]}, True, 0, ["score"]),
    ],
)
def test_what_decides(changes: dict[str, Any], compared: bool, live: int, metrics: list[str]) -> None:
    policy = gate_policy(gate(**changes), golden=60, live=live, compared=compared)
    assert [rule.metric for rule in policy.metrics] == metrics


def test_margins_and_floors_are_each_metrics_own() -> None:
    spec = gate(evaluators=[{"type": "function", "function": "a.py:polite", "margin": 0.2, "floor": 0.5}], floor=0.7)
    score, polite = gate_policy(spec, golden=9, live=0, compared=True).metrics
    assert (score.margin, score.floor) == (0.05, 0.7)
    assert (polite.metric, polite.margin, polite.floor) == ("polite", 0.2, 0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluators": [{"type": "similarity"}, {"type": "similarity"}]}, "two metrics are called 'similarity'"),
        ({"evaluators": [{"type": "similarity", "name": "accuracy"}]}, "two metrics are called 'accuracy'"),
        ({"evaluators": [{"type": "similarity", "name": "score"}]}, "two metrics are called 'score'"),
        ({"evaluators": [{"type": "function"}]}, "'function' names file.py:function"),
        ({"evaluators": [{"type": "similarity", "function": "a.py:b"}]}, "'function' names file.py:function"),
        ({"floors": {"tone": 0.5}}, "floors.tone: the judge has no such criterion"),
        ({"margin": 0}, "greater than 0"),
    ],
)
def test_a_gate_that_cannot_work_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gate(**changes)
