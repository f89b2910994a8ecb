"""What was expected of a canary before it started, beside what releases from ledger rows took: a table."""

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.releases.forecast import DAY, Audience, forecast
from tasks.releases.stages import Stage
from tasks.specs.model import CanarySpec
from tests.bench.canary_ledger import Quality, release
from tests.bench.promises import Promise

RELEASES = 40
NEAR = 1.3
"""Times that a median may be as long as was expected, or as short."""
_CASES: tuple[tuple[str, CanarySpec, float], ...] = (
    ("as a prompt.yaml has it", CanarySpec(), 150.0),
    ("as a prompt.yaml has it", CanarySpec(), 500.0),
    ("as a prompt.yaml has it", CanarySpec(), 5_000.0),
    ("as a prompt.yaml has it", CanarySpec(), 28_800.0),
    ("margin 0.1", CanarySpec(margin=0.1), 60.0),
    ("10 % only", CanarySpec(steps=(10.0,)), 1_000.0),
    ("a third of the users is evidence", CanarySpec(evidence_share=0.33), 1_000.0),
)
_SEED = 900


def check_forecasts(console: Console) -> tuple[list[dict[str, Any]], list[Promise]]:
    """40 equal releases of each case."""
    table = Table(title=f"expected before the start, and taken: {RELEASES} equal releases each, median (90 %)")
    for column in ("plan", "users a day", "expected days", "taken", "expected canary users", "taken"):
        table.add_column(column, justify="left" if column == "plan" else "right")
    figures: list[dict[str, Any]] = []
    for name, plan, users_a_day in _CASES:
        expected = forecast(plan, Audience(users_a_day))
        every = max(60.0, (expected.days or 14.0) * DAY / 150)
        ended = [
            release(
                Quality(),
                plan,
                np.random.default_rng(_SEED + number),
                users_a_minute=users_a_day / 1_440,
                every=every,
                longest=plan.max_duration + 1.0,
                simple=True,
            )
            for number in range(RELEASES)
        ]
        promoted = [one for one in ended if one.stage is not Stage.ROLLED_BACK]
        days = [one.hours / 24 if one.stage is Stage.PROMOTED else np.inf for one in promoted]
        users = [one.canary_users if one.stage is Stage.PROMOTED else np.inf for one in promoted]
        taken, late = (float(np.quantile(days, at, method="inverted_cdf")) for at in (0.5, 0.9))
        canary = float(np.quantile(users, 0.5, method="inverted_cdf"))
        table.add_row(
            name,
            f"{users_a_day:,.0f}",
            f"{_days(expected.days)} ({_days(expected.days_p90)})",
            f"{_days(taken)} ({_days(late)})",
            "–" if expected.canary_users is None else str(expected.canary_users),
            f"{canary:.0f}",
        )
        figures.append(
            {
                "plan": name,
                "users a day": users_a_day,
                "expected days": expected.days,
                "expected days p90": expected.days_p90,
                "taken": taken,
                "taken p90": late,
                "expected canary users": expected.canary_users,
                "canary users": canary,
            }
        )
    console.print(table)
    worst = max(unlike(one["expected days"] or np.inf, one["taken"]) for one in figures)
    reached = f"at most × {worst:.2f} of the median taken, over {len(figures)} cases"
    return figures, [
        Promise("days that a canary is expected to take, before it starts", "≤ × 1.30", reached, worst <= NEAR)
    ]


def unlike(expected: float, taken: float) -> float:
    """How many times the larger is the smaller; 1 when both are endless."""
    if np.isinf(expected) and np.isinf(taken):
        return 1.0
    return max(expected, taken) / max(min(expected, taken), 1e-9)


def _days(days: float | None) -> str:
    return "never" if days is None or np.isinf(days) else f"{days:.2f}"
