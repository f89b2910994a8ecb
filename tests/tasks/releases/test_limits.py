"""What is frozen before a release: quantiles of what production answered, on both databases."""

from decimal import Decimal
from typing import Any

import pytest

from gateway.storage.models import CallRow
from tasks.releases.limits import with_limits
from tasks.releases.reconcile import canary_policy
from tasks.releases.stages import Stage
from tasks.specs.model import CanarySpec, SloSpec
from tests.tasks.releases.traffic import around, play
from tests.tasks.releases.yard import POLICY, Yard, live_call


def answered(yard: Yard, count: int, **changes: Any) -> None:
    """Answers of 1 to ``count`` ms and as many hundred-thousandths of a dollar."""
    release = yard.canary()
    now = yard.clock.now()
    rows: list[tuple[CallRow, float | None]] = [
        (
            live_call(
                release,
                f"{number}",
                "stable",
                now - 60,
                **({"latency_ms": float(number), "cost_usd": Decimal(number) / 100_000} | changes),
            ),
            None,
        )
        for number in range(1, count + 1)
    ]
    yard.add_calls(rows)


def limits(yard: Yard, slo: SloSpec | None) -> SloSpec | None:
    return with_limits(yard.engine, CanarySpec(slo=slo), "acme", "help", now=yard.clock.now()).slo


def test_limits_are_the_quantile_of_what_production_answered(yard: Yard) -> None:
    answered(yard, 200)
    assert limits(yard, None) is None
    found = limits(yard, SloSpec())
    assert found is not None
    assert found.latency_ms == pytest.approx(191, abs=1)
    assert found.cost_usd == pytest.approx(0.00191, abs=1e-5)
    half = limits(yard, SloSpec(quantile=0.5, cost_usd=0.5))
    assert half is not None
    assert half.latency_ms == pytest.approx(101, abs=1)
    assert half.cost_usd == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"layer": "exact"},
        {"fell_back": True},
        {"status": "failed", "error": "time_out"},
        {"origin": "gate"},
        {"version": "0.9.0"},
    ],
)
def test_answers_that_say_nothing_about_production_do_not_count(small_yard: Yard, changes: dict[str, Any]) -> None:
    answered(small_yard, 120, **changes)
    assert limits(small_yard, SloSpec()) == SloSpec(latency_ms=None, cost_usd=None)


def test_with_too_few_answers_there_is_no_such_guardrail(small_yard: Yard) -> None:
    answered(small_yard, 99)
    assert limits(small_yard, SloSpec(latency_ms=50)) == SloSpec(latency_ms=50, cost_usd=None)


def test_a_version_that_is_slow_is_rolled_back(small_yard: Yard) -> None:
    slo = {"slo": {"latency_ms": 50.0, "cost_usd": None}}
    release = small_yard.canary(policy={**POLICY, **slo})
    limits_kept = canary_policy(release).slo
    assert limits_kept is not None
    assert limits_kept.latency_ms == 50.0
    ended = play(small_yard, release, around(0.8, 0.8), rounds=20, canary={"latency_ms": 60.0})
    assert ended.stage == Stage.ROLLED_BACK
    assert "slow" in ended.reason
