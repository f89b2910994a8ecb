"""A release in pictures: e-values over users, shares over time, what the change is worth. Pure, from its record."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.certificates.drawing import (
    BAD,
    DIM,
    GOOD,
    GRID,
    INK,
    PLAIN,
    WIDTH,
    Drawing,
    Panel,
    alone,
    box,
    round_ticks,
    rule,
    text,
)

E_VALUES, SHARES, WORTH = "Evidence by user", "Share of the users", "Gain per 1,000 calls"
MOST_POINTS = 300
_ROW = 190.0

Told = Sequence[Mapping[str, Any]]


def release_charts(steps: Told, business: Mapping[str, Any] | None) -> dict[str, Drawing]:
    """By title, those that there is something to show of. ``steps`` and ``business`` as in a certificate."""
    drawn = {E_VALUES: e_value_chart(steps), SHARES: share_chart(steps), WORTH: worth_chart(business)}
    return {title: one for title, one in drawn.items() if one is not None}


def one_picture(title: str, charts: Mapping[str, Drawing]) -> str:
    """All charts of a release in one SVG file."""
    return alone([(f"{title}: {name[:1].lower()}{name[1:]}", one) for name, one in charts.items()])


def e_value_chart(steps: Told) -> Drawing | None:
    """A panel per guardrail: its two e-values over the canary users that were compared, against their limits."""
    decided = [step for step in steps if step["guardrails"]]
    if not decided:
        return None
    rails = decided[-1]["guardrails"]
    parts = [_e_panel(one, decided, number) for number, one in enumerate(rails)]
    caption = (
        "The highest e-value so far (logarithmic) over the canary users compared. A verdict falls when a line reaches"
        " its own limit: promotion needs “not worse” there on every guardrail, a rollback “worse” on any of them."
    )
    return Drawing(_ROW * math.ceil(len(rails) / 2), "".join(parts), caption)


def _e_panel(last: Mapping[str, Any], decided: Told, number: int) -> str:
    limits = math.log10(last["rolls_back_at"]), math.log10(last["promotes_at"])
    lines = {key: _path(decided, last["metric"], key) for key in ("e_worse", "e_not_worse")}
    highest = max(y for points in lines.values() for _, y in points)
    top = max(limits) * 1.25 if highest < max(limits) * 1.25 else min(highest * 1.05, max(limits) * 2)
    users = max(1.0, lines["e_worse"][-1][0])
    panel = Panel(
        left=40 + (number % 2) * WIDTH / 2,
        top=24 + (number // 2) * _ROW,
        width=WIDTH / 2 - 56,
        height=_ROW - 64,
        x_from=0.0,
        x_to=users,
        y_to=top,
    )
    ticks = range(0, math.floor(top) + 1, max(1, math.ceil(top / 4)))
    return "".join(
        (
            text(panel.left, panel.top - 9, last["metric"], INK, size=10.5, bold=True),
            text(panel.right - 52, panel.top - 9, "not worse", GOOD, anchor="end"),
            text(panel.right, panel.top - 9, "worse", BAD, anchor="end"),
            panel.y_axis([(at, f"{10**at:,}" if at < 5 else f"1e{at}") for at in ticks]),
            panel.x_axis([(at, f"{at:g}") for at in round_ticks(0, users, 4) if at == int(at)], "canary users"),
            panel.level(limits[0], BAD),
            text(panel.right, panel.y(limits[0]) - 3, f"rolls back at {last['rolls_back_at']:g}", BAD, anchor="end"),
            panel.level(limits[1], GOOD),
            text(panel.left + 3, panel.y(limits[1]) - 3, f"promotes at {last['promotes_at']:g}", GOOD),
            panel.line(lines["e_worse"], BAD),
            panel.line(lines["e_not_worse"], GOOD),
        )
    )


def _path(decided: Told, metric: str, key: str) -> list[tuple[float, float]]:
    """(users, log10 of the e-value), from no users on; thinned out where there are many looks."""
    points = [(0.0, 0.0)]
    for step in decided:
        found = next((one for one in step["guardrails"] if one["metric"] == metric), None)
        if found is not None:
            points.append((float(found["blocks"]), math.log10(max(found[key], 1.0))))
    every = math.ceil(len(points) / MOST_POINTS)
    return points if every == 1 else [*points[:-1:every], points[-1]]


def share_chart(steps: Told) -> Drawing | None:
    """Which share of the users was to see the candidate, from the canary's start to its end."""
    begun = next((number for number, step in enumerate(steps) if step["what"] == "started"), None)
    if begun is None:
        return None
    canary = [step for step in steps[begun:] if step["at"]]
    start = _seconds(canary[0])
    changes: list[tuple[float, float]] = []
    for step in canary:
        if not changes or step["share_percent"] != changes[-1][1]:
            changes.append((_seconds(step) - start, float(step["share_percent"])))
    end = max(_seconds(canary[-1]) - start, 1.0)
    panel = Panel(left=40, top=16, width=WIDTH - 56, height=104, x_from=0.0, x_to=end * 1.06, y_to=100.0)
    corners = [
        corner
        for (at, share), before in zip(changes, [(0.0, 0.0), *changes], strict=False)
        for corner in ((at, before[1]), (at, share))
    ]
    corners.append((end * 1.06, changes[-1][1]))
    spans = zip(changes, [*changes[1:], (end * 1.06, 0.0)], strict=True)
    under = "".join(
        box(panel.x(at), panel.y(share), panel.x(to) - panel.x(at), panel.bottom - panel.y(share), PLAIN, opacity=0.12)
        for (at, share), (to, _) in spans
    )
    labels = _spaced([(panel.x(at) + 3, panel.y(share) - 4, f"{share:g} %") for at, share in changes])
    unit, name = _unit(end)
    ticks = [(at * unit, f"{at:g}") for at in round_ticks(0, end / unit, 6)]
    body = "".join(
        (
            panel.y_axis([(at, f"{at} %") for at in (0, 50, 100)]),
            under,
            panel.line(corners, PLAIN, width=1.8),
            *(text(x, y, words, PLAIN) for x, y, words in labels),
            panel.x_axis(ticks, f"{name} since the canary began"),
        )
    )
    words = str(canary[-1]["what"]).replace("_", " ")
    return Drawing(150.0, body, f"The share of the users that saw the candidate. The last step: {words}.")


def _spaced(labels: Sequence[tuple[float, float, str]], room: float = 34.0) -> list[tuple[float, float, str]]:
    """Labels that do not lie on each other; the last always stays."""
    kept: list[tuple[float, float, str]] = []
    for one in reversed(labels):
        if not kept or kept[-1][0] - one[0] >= room or abs(kept[-1][1] - one[1]) >= 12:
            kept.append(one)
    return kept[::-1]


def _unit(seconds: float) -> tuple[float, str]:
    for unit, name in ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * unit:
            return unit, name
    return 1.0, "seconds"


def _seconds(step: Mapping[str, Any]) -> float:
    return datetime.strptime(step["at"], "%Y-%m-%d %H:%M:%S %Z").timestamp()


def worth_chart(business: Mapping[str, Any] | None) -> Drawing | None:
    """What is plausible for the gain: how the posterior's draws spread, losses in red."""
    spread = business and business.get("gain_spread")
    if not business or not spread:
        return None
    shares, low, high = spread["shares"], float(spread["from"]), float(spread["to"])
    width = (high - low) / len(shares)
    edge_low, edge_high = min(low, -width), max(high, width)
    panel = Panel(left=40, top=30, width=WIDTH - 56, height=96, x_from=edge_low, x_to=edge_high, y_to=max(shares) * 1.1)
    bars = "".join(
        box(
            panel.x(low + number * width) + 0.4,
            panel.y(share),
            panel.width * width / (edge_high - edge_low) - 0.8,
            panel.bottom - panel.y(share),
            BAD if low + (number + 0.5) * width < 0 else GOOD,
            opacity=0.55,
        )
        for number, share in enumerate(shares)
    )
    gain, loss = business["gain_per_1000_calls"], float(business["probability_of_loss"])
    mean = panel.x(min(max(gain["mean"], edge_low), edge_high))
    anchor = "end" if mean > WIDTH * 0.7 else "start" if mean < WIDTH * 0.3 else "middle"
    bracket = rule(
        panel.x(max(gain["lower"], edge_low)), panel.top - 6, panel.x(min(gain["upper"], edge_high)), panel.top - 6, INK
    )
    body = "".join(
        (
            rule(panel.left, panel.bottom, panel.right, panel.bottom, GRID),
            bars,
            rule(panel.x(0.0), panel.top - 2, panel.x(0.0), panel.bottom, INK, width=1.2),
            rule(mean, panel.top - 9, mean, panel.bottom, INK, dashed=True),
            bracket,
            text(mean, panel.top - 14, f"{_dollars(gain['mean'])} (95 %: bar)", INK, anchor=anchor),
            panel.x_axis([(at, _dollars(at)) for at in round_ticks(edge_low, edge_high, 7)]),
            text(
                panel.right if mean < WIDTH / 2 else panel.left,
                panel.top - 14,
                f"P(it loses money) = {_risk(loss)}",
                BAD if loss > 0.5 else DIM,
                anchor="end" if mean < WIDTH / 2 else "start",
            ),
        )
    )
    caption = (
        "What is plausible for the candidate's net gain per 1,000 calls over the version before, in US dollars:"
        " draws of its posterior; red where it loses money."
    )
    return Drawing(150.0, body, caption)


def _dollars(value: float) -> str:
    digits = 0 if abs(value) >= 10 or value == 0 else 2
    return f"{'−' if value < 0 else ''}${abs(value):,.{digits}f}"


def _risk(value: float) -> str:
    return "under 1 %" if value < 0.005 else "over 99 %" if value > 0.995 else f"{100 * value:.0f} %"
