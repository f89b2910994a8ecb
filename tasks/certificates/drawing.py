"""Lines, bars and axes as SVG text, for pages, artifacts and runs alike. Pure; every text is escaped."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 720.0
INK, DIM, GRID = "#1d2430", "#5b6675", "#e6e9ee"
GOOD, BAD, PLAIN = "#17663a", "#a3231d", "#1f5fa8"


@dataclass(frozen=True)
class Drawing:
    """A drawing of ``WIDTH`` × ``height`` points, and what it shows in words."""

    height: float
    body: str
    caption: str

    def inline(self, label: str) -> str:
        """For the inside of a page."""
        return (
            f'<figure><svg viewBox="0 0 {WIDTH:g} {self.height:g}" role="img" aria-label="{escape(label)}">'
            f"{self.body}</svg><figcaption>{escape(self.caption)}</figcaption></figure>"
        )


def alone(drawings: Sequence[tuple[str, Drawing]]) -> str:
    """Drawings under their titles in one file."""
    parts: list[str] = []
    top = 10.0
    for title, one in drawings:
        parts.append(text(10, top + 14, title, INK, size=13, bold=True))
        parts.append(f'<g transform="translate(0 {top + 22:g})">{one.body}</g>')
        top += 22 + one.height + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {top:g}" width="{WIDTH:g}" height="{top:g}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
    )


@dataclass(frozen=True)
class Panel:
    """A field with two linear scales: ``x_to`` and ``y_to`` are the values at its right and upper edge."""

    left: float
    top: float
    width: float
    height: float
    x_from: float
    x_to: float
    y_to: float

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def right(self) -> float:
        return self.left + self.width

    def x(self, value: float) -> float:
        return self.left + self.width * (value - self.x_from) / ((self.x_to - self.x_from) or 1.0)

    def y(self, value: float) -> float:
        """What is beyond an edge stays at it."""
        return self.bottom - self.height * min(max(value, 0.0), self.y_to) / (self.y_to or 1.0)

    def line(self, points: Sequence[tuple[float, float]], colour: str, *, width: float = 1.6) -> str:
        places = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return f'<polyline fill="none" stroke="{colour}" stroke-width="{width:g}" points="{places}"/>'

    def level(self, value: float, colour: str, *, dashed: bool = True) -> str:
        """A line from the left to the right edge."""
        return rule(self.left, self.y(value), self.right, self.y(value), colour, dashed=dashed)

    def x_axis(self, ticks: Sequence[tuple[float, str]], name: str = "") -> str:
        parts = [rule(self.left, self.bottom, self.right, self.bottom, DIM)]
        for value, words in ticks:
            at = self.x(value)
            parts.append(rule(at, self.bottom, at, self.bottom + 3, DIM))
            anchor = "end" if at > self.right - 12 else "start" if at < self.left + 12 else "middle"
            parts.append(text(at, self.bottom + 13, words, DIM, anchor=anchor))
        if name:
            parts.append(text(self.right, self.bottom + 25, name, DIM, anchor="end"))
        return "".join(parts)

    def y_axis(self, ticks: Sequence[tuple[float, str]]) -> str:
        return "".join(
            self.level(value, GRID, dashed=False) + text(self.left - 5, self.y(value) + 3, words, DIM, anchor="end")
            for value, words in ticks
        )


def text(
    x: float, y: float, words: str, colour: str, *, anchor: str = "start", size: float = 9.5, bold: bool = False
) -> str:
    font = f'font-family="sans-serif" font-size="{size:g}"' + (' font-weight="700"' if bold else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" {font} fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'


def rule(x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False, width: float = 0.8) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"{dash}/>'


def box(x: float, y: float, width: float, height: float, colour: str, *, opacity: float = 1.0) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect {place} fill="{colour}" fill-opacity="{opacity:g}"/>'


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values between two bounds: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
