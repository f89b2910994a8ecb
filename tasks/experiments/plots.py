"""Pictures of an experiment: pure, an experiment in and PNG out, readable at 800 pixels."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, betaln, xlog1py, xlogy

from gateway.prompts.splits import BASIS
from tasks.experiments.weights import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#7f7f7f", "#1b7837", "#2166ac", "#b2182b", "#762a83", "#e08214", "#01665e", "#c51b7d", "#4d4d4d", "#8c510a")
"""The baseline is grey."""
_POINTS = 400
_MOST_SEGMENTS = 12
_LONGEST_NAME = 48
_SHORTEST = 60.0
"""Seconds that an epoch is drawn at least."""


def overview(found: Found) -> bytes:
    """Shares over time, what is believed of each arm's mean, and shares by segment where there are some."""
    segments = sorted(found.row.segments.items())
    names = segments[:_MOST_SEGMENTS]
    heights = [2.6, 2.6, *([0.9 + 0.32 * len(names)] if names else [])]
    from matplotlib.figure import Figure  # half a second, and no display is asked for

    figure: Figure = Figure(figsize=(8, sum(heights)), layout="constrained")
    panels = figure.subplots(len(heights), 1, height_ratios=heights)
    _shares(panels[0], found)
    _beliefs(panels[1], found)
    if names:
        _by_segment(panels[2], found, names, len(segments))
    return _png(figure)


def _shares(axes: "Axes", found: Found) -> None:
    epochs = found.shown.epochs
    until = max(found.row.ended_at or found.shown.now, epochs[-1].began + _SHORTEST)
    times: Any = [datetime.fromtimestamp(at, UTC) for at in (*(epoch.began for epoch in epochs), until)]
    below = np.zeros(len(times))
    for place, version in enumerate(found.shown.versions):
        weights = [epoch.weights[place] for epoch in epochs]
        top = below + np.array([*weights, weights[-1]]) / BASIS * 100.0
        axes.fill_between(times, below, top, step="post", color=_colour(place), linewidth=0, label=version)
        below = top
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of the users")
    axes.set_title(f"shares over {len(epochs)} epochs", loc="left", fontsize=10)
    _dates(axes)
    axes.legend(frameon=False, fontsize=8, ncols=len(found.shown.versions), loc="lower right", bbox_to_anchor=(1, 1))


def _beliefs(axes: "Axes", found: Found) -> None:
    posteriors = found.look.allocation.posteriors
    ends = [betaincinv(one.alpha, one.beta, (0.0005, 0.9995)) for one in posteriors]
    low, high = min(one[0] for one in ends), max(one[1] for one in ends)
    points = np.linspace(low, high, _POINTS)
    for place, (version, one) in enumerate(zip(found.shown.versions, posteriors, strict=True)):
        excluded = " (excluded)" if found.look.arms[place].excluded else ""
        label = f"{version}{excluded}: {one.mean:.3f}"
        axes.plot(points, _density(points, one.alpha, one.beta), color=_colour(place), linewidth=2, label=label)
    axes.set_yticks([])
    axes.set_xlabel("mean outcome of a user")
    axes.set_title(f"what {found.look.outcomes} outcomes say of each arm", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _density(points: NDArray[np.float64], alpha: float, beta: float) -> Any:
    """Of a Beta distribution. As SciPy's own, without its statistics, which take seconds to import."""
    return np.exp(xlogy(alpha - 1.0, points) + xlog1py(beta - 1.0, -points) - betaln(alpha, beta))


def _by_segment(axes: "Axes", found: Found, segments: Sequence[tuple[str, Any]], known: int) -> None:
    names = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name, _ in segments]
    left = np.zeros(len(names))
    for place in range(len(found.shown.versions)):
        widths = np.array([weights[place] for _, weights in segments]) / BASIS * 100.0
        axes.barh(range(len(names)), widths, left=left, color=_colour(place), height=0.7)
        left = left + widths
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)  # $ is what a caller said
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the users")
    shown = f"the first {len(names)} of {known} segments" if known > len(names) else f"{known} segments"
    axes.set_title(f"shares by segment: {shown}", loc="left", fontsize=10)


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _dates(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    ticks = AutoDateLocator(maxticks=8, tz=UTC)
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(ticks, tz=UTC))
    axes.tick_params(labelsize=8)


def _png(figure: "Figure") -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    return out.getvalue()
