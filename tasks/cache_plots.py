"""Pictures of what the cache does: pure, figures in and PNG out. Each is about one thing and readable at 800 pixels."""

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tasks.cache_stats import CacheStats

ORDER = ("local", "exact", "semantic", "coalesced", "stale", "none")
COLOURS: Mapping[str, str] = {
    "local": "#1b7837",
    "exact": "#5aae61",
    "semantic": "#a6dba0",
    "coalesced": "#74add1",
    "stale": "#fdae61",
    "none": "#bdbdbd",
}
NAMES: Mapping[str, str] = {"none": "provider"}
_WARM, _COLD = "#1b7837", "#bdbdbd"


def cold_and_warm(cold_ms: Sequence[float], warm_ms: Sequence[float]) -> bytes:
    """How long answers took before and after, as shares of the questions (both lists are non-empty)."""
    figure, axes = _figure(7, 3.2)
    for values, colour, name in ((cold_ms, _COLD, "cold"), (warm_ms, _WARM, "warm")):
        ordered = sorted(values)
        shares = [(place + 1) / len(ordered) for place in range(len(ordered))]
        middle = ordered[(len(ordered) - 1) // 2]
        axes.step(ordered, shares, where="post", color=colour, linewidth=2.5, label=f"{name}, median {_ms(middle)} ms")
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds until the answer")
    axes.set_ylabel("share of the questions")
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    _plain_numbers(axes)
    return _png(figure)


def overview(stats: "CacheStats") -> bytes:
    """Hits by layer over time, latency by layer, money over time: three panels."""
    figure = _empty(8, 8.2)
    over_time, latency, money = figure.subplots(3, 1, height_ratios=(3, 2, 2))
    _layers_over_time(over_time, stats)
    _latency(latency, stats)
    _money(money, stats)
    return _png(figure)


def memory_over_time(points: Sequence[tuple[float, int]], limit: int) -> bytes:
    """Bytes used at each moment (non-empty), and the limit where there is one."""
    figure, axes = _figure(7, 2.6)
    axes.plot([_moment(at) for at, _ in points], [used / 1e6 for _, used in points], color=_WARM, marker=".")
    if limit:
        axes.axhline(limit / 1e6, color="#b2182b", linewidth=1, linestyle="--")
        axes.annotate(
            "maxmemory", (0.01, limit / 1e6), xycoords=("axes fraction", "data"), va="bottom", color="#b2182b"
        )
    axes.set_ylabel("MB in the cache Redis")
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    _dates(axes)
    return _png(figure)


def _layers_over_time(axes: "Axes", stats: "CacheStats") -> None:
    starts = [_moment(at) for at in stats.bucket_starts]
    known = [layer for layer in ORDER if any(layer in bucket for bucket in stats.buckets)]
    width = (stats.until - stats.since) / len(stats.buckets) / 86_400 * 0.92 if stats.buckets else 1
    below = [0] * len(starts)
    for layer in known:
        heights = [bucket[layer].calls if layer in bucket else 0 for bucket in stats.buckets]
        axes.bar(
            starts, heights, width, bottom=below, align="edge", color=COLOURS[layer], label=NAMES.get(layer, layer)
        )
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axes.set_title(
        f"answers by layer: {stats.hit_rate:.0%} of {stats.calls} without a provider", loc="left", fontsize=10
    )
    axes.set_ylabel("answers")
    _time_axis(axes, stats)
    if known:
        axes.legend(frameon=False, ncols=len(known), fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.1))


def _latency(axes: "Axes", stats: "CacheStats") -> None:
    rows = [one for one in stats.layers if one.p50_ms is not None]
    for place, one in enumerate(reversed(rows)):
        median, slow = one.p50_ms or 0.0, one.p95_ms or 0.0
        axes.plot(
            [median, slow], [place, place], color=COLOURS.get(one.layer, "#444"), linewidth=6, solid_capstyle="butt"
        )
        axes.annotate(
            f"{_ms(median)} – {_ms(slow)} ms",
            (slow, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
        axes.plot([median], [place], marker="|", color="#222", markersize=12)
    axes.set_yticks(range(len(rows)), [NAMES.get(one.layer, one.layer) for one in reversed(rows)])
    axes.set_ylim(-0.6, max(0.6, len(rows) - 0.4))
    axes.set_xscale("log")
    if rows:
        axes.set_xlim(right=8 * max(one.p95_ms or 1.0 for one in rows))
    _plain_numbers(axes)
    axes.set_title("latency by layer: median to 95th percentile, milliseconds", loc="left", fontsize=10)


def _money(axes: "Axes", stats: "CacheStats") -> None:
    starts = [_moment(at) for at in stats.bucket_starts]
    spent = _running([float(sum(one.cost_usd for one in bucket.values())) for bucket in stats.buckets])
    saved = _running([float(sum(one.saved_usd for one in bucket.values())) for bucket in stats.buckets])
    axes.fill_between(starts, spent, step="post", color=_COLD, label="spent")
    axes.fill_between(
        starts,
        spent,
        [a + b for a, b in zip(spent, saved, strict=True)],
        step="post",
        color=COLOURS["exact"],
        label="saved",
    )
    axes.set_title(f"money: {_usd(stats.cost_usd)} spent, {_usd(stats.saved_usd)} saved", loc="left", fontsize=10)
    axes.set_ylabel("US dollars")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    _time_axis(axes, stats)


def _time_axis(axes: "Axes", stats: "CacheStats") -> None:
    _dates(axes)
    axes.set_xlim(_moment(stats.since), _moment(stats.until))


def _dates(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    ticks = AutoDateLocator(maxticks=8, tz=UTC)
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(ticks, tz=UTC))
    axes.tick_params(labelsize=8)


def _plain_numbers(axes: "Axes") -> None:
    """1,000 instead of a power of ten."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _ms(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _usd(amount: Decimal) -> str:
    """A dollar sign alone would begin a formula."""
    return rf"\${amount:.4f}" if amount < 1 else rf"\${amount:,.2f}"


def _running(values: Sequence[float]) -> list[float]:
    total, found = 0.0, []
    for value in values:
        total += value
        found.append(total)
    return found


def _moment(at: float) -> Any:
    return datetime.fromtimestamp(at, UTC)


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    figure = _empty(width, height)
    return figure, figure.subplots()


def _empty(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # half a second, and no display is asked for

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: "Figure") -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    return out.getvalue()
