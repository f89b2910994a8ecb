"""What ways of answering the day took, as figures and as a table."""

from dataclasses import dataclass
from decimal import Decimal

from rich.table import Table

from tests.bench.day_plan import DayPlan


@dataclass(frozen=True)
class Day:
    """What one way of answering the day took. ``usd`` is all of it, warming and sampled judging included.

    ``wrong``: answers that fail their golden question's checks; ``wrong_cached``: those of them that a layer served.
    ``early_ms``: mean of the first tenth of the calls, which meet an empty cache.
    """

    layers: dict[str, int]
    upstream: int
    usd: Decimal
    p50_ms: float
    p95_ms: float
    mean_ms: float
    early_ms: float
    wrong: int
    wrong_cached: int
    seconds: float


@dataclass(frozen=True)
class Earned:
    """How the semantic layer came by its right to serve, or did not. ``judged``: by why a guard spoke against the pair,
    empty where none did, how many were judged and how many of them were right."""

    days: int
    judged: dict[str, tuple[int, int]]
    pairs: int
    wrong: int
    upper: float
    threshold: float | None
    serving: bool
    usd: Decimal


def violations(days: dict[str, Day]) -> list[str]:
    """Layers that made the day dearer, and calls without an answer. Warming may cost more: it buys time."""
    bare = days["no cache"]
    found = [
        f"{name}: ${day.usd} instead of ${bare.usd}"
        for name, day in days.items()
        if day.usd > bare.usd and "warm" not in name
    ]
    short = [name for name, day in days.items() if sum(day.layers.values()) != sum(bare.layers.values())]
    return found + [f"{name}: not all calls were answered" for name in short]


def table(days: dict[str, Day], plan: DayPlan, earned: Earned) -> Table:
    how = f"earned in {earned.days} days of shadow" if earned.serving else "not earned: it served nothing"
    bound = f"{earned.wrong} of {earned.pairs} proving pairs wrong, at most {earned.upper:.1%}"
    title = f"a day of {plan.calls} calls; the semantic verdict was {how} ({bound}, judging ${earned.usd:.3f})"
    shown = Table(title=title)
    columns = (
        "",
        "upstream",
        "exact",
        "local",
        "semantic",
        "USD",
        "saved",
        "p50 ms",
        "p95 ms",
        "first tenth ms",
        "wrong",
    )
    for column in columns:
        shown.add_column(column, justify="left" if not column else "right")
    for name, day in days.items():
        shown.add_row(
            name,
            f"{day.upstream:,}",
            *(f"{day.layers.get(layer, 0):,}" for layer in ("exact", "local", "semantic")),
            f"{day.usd:.4f}",
            f"{saved(day, days):.0%}",
            f"{day.p50_ms:.1f}",
            f"{day.p95_ms:.0f}",
            f"{day.early_ms:.0f}",
            f"{day.wrong} ({day.wrong_cached} cached)",
        )
    return shown


def saved(day: Day, days: dict[str, Day]) -> float:
    """Share of the money."""
    bare = days["no cache"].usd
    return float(1 - day.usd / bare) if bare else 0.0
