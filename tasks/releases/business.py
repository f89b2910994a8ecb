"""What a release is worth: the declared values on the calls that a look was shown, in figures and in words. Pure."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from gateway.ledger.queries import ReleaseCall
from gateway.types import CANARY, STABLE
from tasks.releases.evidence import QUALITY, why_excluded
from tasks.releases.look import Shown
from tasks.releases.stages import Stage
from tasks.specs.model import ValueSpec
from tasks.statistics.business import ArmUsers, Impact, JudgeErrors, Values, impact

UNLIKELY = 0.05


def business(shown: Shown, spec: ValueSpec, *, release_id: str, stage: Stage) -> dict[str, Any] | None:
    """Net value by arm, gain, risk, return on testing and a recommendation; None while too little is known.

    Seeded by the release's id, so that a replay gives the same figures.
    """
    arms = by_arm(shown.calls, spec.resolved_from)
    judge = JudgeErrors(**spec.judge.model_dump()) if spec.judge else None
    found = impact(
        arms[STABLE],
        arms[CANARY],
        Values(spec.resolved, spec.escalation, spec.waiting_minute),
        calls_per_year=spec.calls_per_year(len(shown.calls), shown.now - shown.started_at),
        judge=judge,
        seed=int.from_bytes(hashlib.sha256(release_id.encode()).digest()[:4], "big"),
    )
    if found is None:
        return None
    testing = _cost_of_testing(shown, found)
    return {
        "arms": [{"arm": name, **asdict(one)} for name, one in (("stable", found.stable), ("canary", found.canary))],
        "gain_per_1000_calls": asdict(found.gain_per_1000_calls),
        "gain_per_year": asdict(found.gain_per_year),
        "gain_spread": {
            "from": found.gain_spread.lower,
            "to": found.gain_spread.upper,
            "shares": list(found.gain_spread.shares),
        },
        "calls_per_year": round(found.calls_per_year),
        "calls_declared": spec.calls_per_day is not None,
        "observed_hours": round((shown.now - shown.started_at) / 3600, 2),
        "probability_of_loss": found.probability_of_loss,
        "judge_corrected": found.judge_corrected,
        "testing": _testing(found, stage, testing),
        "recommendation": recommendation(found, stage),
    }


def by_arm(calls: Iterable[ReleaseCall], resolved_from: float) -> dict[str, ArmUsers]:
    """The calls that are evidence, summed by user, on the arm of the user's first one."""
    first: dict[str, str] = {}
    sums: dict[str, dict[str, list[float]]] = {STABLE: defaultdict(_zeros), CANARY: defaultdict(_zeros)}
    for call in sorted(calls, key=lambda one: (one.started_at, one.id)):
        if why_excluded(call) or first.setdefault(call.user, call.arm) != call.arm:
            continue
        row = sums[call.arm][call.user]
        failed = call.status != "ok"
        if failed or QUALITY in call.scores:
            row[0] += 1
            row[1] += not failed and call.scores[QUALITY] >= resolved_from
        row[2] += 1
        row[3] += call.latency_ms / 60_000
        if call.cost_usd is not None:
            row[4] += 1
            row[5] += float(call.cost_usd)
    return {arm: _users(list(rows.values())) for arm, rows in sums.items()}


def recommendation(found: Impact, stage: Stage) -> str:
    """What a person should make of it, beside the verdict that the guardrails gave."""
    gain, loss = found.gain_per_1000_calls, found.probability_of_loss
    earns = gain.mean >= 0
    lower, upper = (gain.lower, gain.upper) if earns else (-gain.upper, -gain.lower)
    figures = (
        f"{_money(abs(gain.mean))} more per 1,000 calls (95 %: {_money(lower)} to {_money(upper)}),"
        f" {_money(abs(found.gain_per_year.mean))} a year at {found.calls_per_year / 365:,.0f} calls a day"
    )
    risk = f"the probability that it loses money is {_percent(loss)}"
    judged = "" if found.judge_corrected else " The judge's own errors are not in it: no calibration is declared."
    if loss <= UNLIKELY:
        words = f"The new version earns {figures}; {risk}."
        advice = {
            Stage.PROMOTED: " Keep it.",
            Stage.ROLLED_BACK: " A guardrail still says that it does harm: mend that, and release it again.",
        }.get(stage, " It is worth promoting once the guardrails allow it.")
    elif loss >= 1 - UNLIKELY:
        words = f"The new version costs {figures}; {risk}."
        advice = {
            Stage.PROMOTED: " The guardrails hold, but it does not pay: consider going back.",
            Stage.ROLLED_BACK: " Rolling it back was right in money too.",
        }.get(stage, " It is not worth promoting.")
    else:
        words = f"The new version may {'earn' if earns else 'cost'} {figures}; {risk}."
        advice = " Money does not settle it: go by the guardrails."
    return words + advice + judged


def _testing(found: Impact, stage: Stage, cost: float | None) -> dict[str, Any]:
    """What testing cost and brought: the year's gain of a promotion, the year's loss that a rollback spared."""
    year = found.gain_per_year.mean
    brought = {Stage.PROMOTED: year, Stage.ROLLED_BACK: -year}.get(stage)
    known = brought is not None and cost is not None and cost > 0
    return {"cost_usd": cost, "brought_per_year_usd": brought, "return": brought / cost if known else None}  # type: ignore[operator]


def _cost_of_testing(shown: Shown, found: Impact) -> float | None:
    """Model calls of gate and judge, and what canary users' calls were worth less than they would have been."""
    if shown.testing_usd is None:
        return None
    harm = max(0.0, -found.gain_per_1000_calls.mean) * found.canary.calls / 1_000
    return shown.testing_usd + harm


def _zeros() -> list[float]:
    return [0.0] * 6


def _users(rows: list[list[float]]) -> ArmUsers:
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 6)
    return ArmUsers(*table.T)


def _percent(value: float) -> str:
    """Never certain: it is from draws."""
    return "under 1 %" if value < 0.005 else "over 99 %" if value > 0.995 else f"{100 * value:.0f} %"


def _money(value: float) -> str:
    cents = 2 if abs(value) < 1_000 else 0
    return f"{'−' if value < 0 else ''}${abs(value):,.{cents}f}"


def declared_values(policy: Mapping[str, Any]) -> ValueSpec | None:
    """The values that the release was opened with, None where none are declared."""
    return ValueSpec.model_validate(policy["value"]) if policy.get("value") else None
