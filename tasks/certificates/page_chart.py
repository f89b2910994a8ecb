"""The e-values of a release, look by look, as a drawing of its own in the page (SVG, logarithmic)."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720.0, 190.0, 46.0, 150.0, 12.0, 26.0
_COLOURS = ("#1f5fa8", "#a85b1f", "#3c7a3c", "#7a3c75")


def e_value_chart(steps: Sequence[Mapping[str, Any]]) -> str:
    """A line per guardrail and direction over the looks, with the limits; empty with fewer than two looks."""
    if len(steps) < 2:
        return ""
    names = [one["metric"] for one in steps[-1]["guardrails"]]
    lines = [
        (
            f"{name}, {words}",
            _COLOURS[number % len(_COLOURS)],
            dashed,
            [_log10(steps[i], name, key) for i in range(len(steps))],
        )
        for number, name in enumerate(names)
        for key, words, dashed in (("e_not_worse", "not worse", False), ("e_worse", "worse", True))
    ]
    last = steps[-1]["guardrails"][0]
    limits = [(f"promotes at {last['promotes_at']:g}", math.log10(last["promotes_at"]))]
    limits.append((f"rolls back at {last['rolls_back_at']:g}", math.log10(last["rolls_back_at"])))
    top = max(2.0, *(max(values) for *_, values in lines), *(at for _, at in limits)) * 1.05

    def x(index: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * index / (len(steps) - 1)

    def y(log10: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * max(0.0, log10) / top

    parts = [_axis(top, y), *(_limit(text, y(at), below) for below, (text, at) in enumerate(limits))]
    lines.sort(key=lambda line: -line[3][-1])
    places = _apart([y(values[-1]) + 3 for *_, values in lines])
    for (text, colour, dashed, values), place in zip(lines, places, strict=True):
        points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(values))
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.6"{dash} points="{points}"/>')
        parts.append(_label(_WIDTH - _RIGHT + 6, place, text, colour))
    parts.append(_label(_LEFT, _HEIGHT - 8, f"look {steps[0]['look'] or 1}", "#5b6675"))
    parts.append(_label(_WIDTH - _RIGHT - 34, _HEIGHT - 8, f"look {steps[-1]['look'] or len(steps)}", "#5b6675"))
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="e-values by look">{"".join(parts)}'
        "</svg><figcaption>The highest e-value so far, by look (logarithmic). A verdict falls when a line reaches its"
        " limit: promotion needs every guardrail's solid line at it, a rollback any dashed one.</figcaption></figure>"
    )


def _apart(wanted: Sequence[float], distance: float = 12.0) -> list[float]:
    """Places for labels, top down, none on another: pushed up from the bottom, then down from above."""
    places = list(wanted)
    limit = _HEIGHT - _BOTTOM + 3
    for number in reversed(range(len(places))):
        places[number] = limit = min(places[number], limit)
        limit -= distance
    for number in range(1, len(places)):
        places[number] = max(places[number], places[number - 1] + distance)
    return places


def _log10(step: Mapping[str, Any], metric: str, key: str) -> float:
    value = next((one[key] for one in step["guardrails"] if one["metric"] == metric), 1.0)
    return math.log10(max(value, 1.0))


def _axis(top: float, y: Any) -> str:
    every = max(1, math.ceil(top / 5))
    ticks = range(0, math.floor(top) + 1, every)
    return "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}" stroke="#e6e9ee"/>'
        + _label(_LEFT - 6, y(at) + 3, f"{10**at:,}" if at < 5 else f"1e{at}", "#5b6675", anchor="end")
        for at in ticks
    )


def _limit(text: str, at: float, number: int) -> str:
    where = _LEFT + 4 + 110 * number
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#1d2430" stroke-width=".8"/>'
        + _label(where, at - 3, text, "#1d2430")
    )


def _label(x: float, y: float, text: str, colour: str, *, anchor: str = "start") -> str:
    font = 'font-family="sans-serif" font-size="9.5"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {font} fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
