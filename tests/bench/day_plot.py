"""The day as a picture for the README: ``python -m tests.bench.day_plot FIGURES.json PICTURE.svg``.

``FIGURES.json`` is what ``python -m tests.bench day --json FIGURES.json`` writes.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.cache_plots import COLOURS, NAMES, ORDER


def draw(figures: Mapping[str, Any], target: Path) -> None:
    """Answers by layer, and money, for each way of answering the day; SVG with text as text, so that it stays small."""
    import matplotlib
    from matplotlib.figure import Figure

    ways: Mapping[str, Any] = figures["ways"]
    names = list(reversed(ways))
    figure = Figure(figsize=(8.4, 0.52 * len(names) + 1.1), layout="constrained")
    answers, money = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    known = [layer for layer in ORDER if any(layer in way["layers"] for way in ways.values())]
    left = [0] * len(names)
    for layer in known:
        widths = [ways[name]["layers"].get(layer, 0) for name in names]
        answers.barh(names, widths, left=left, height=0.62, color=COLOURS[layer], label=NAMES.get(layer, layer))
        left = [low + width for low, width in zip(left, widths, strict=True)]
    for place, name in enumerate(names):
        answers.annotate(
            f"median {_ms(ways[name]['p50_ms'])}",
            (left[place], place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="#222",
        )
    answers.set_xlim(0, max(left) * 1.38)
    answers.set_title(f"{figures['plan']['calls']:,} answers, by who gave them", loc="left", fontsize=10)
    answers.legend(frameon=False, ncols=len(known), fontsize=8, loc="upper left", bbox_to_anchor=(-0.02, -0.06))
    spent = [float(ways[name]["usd"]) for name in names]
    money.barh(names, spent, height=0.62, color=COLOURS["none"])
    for place, (name, usd) in enumerate(zip(names, spent, strict=True)):
        less = ways[name]["saved"]
        words = rf"\${usd:.3f}" + (f"  ({abs(less):.0%} {'less' if less > 0 else 'more'})" if less else "")
        money.annotate(words, (usd, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    money.set_xlim(0, max(spent) * 1.75)
    money.set_title("what providers were paid", loc="left", fontsize=10)
    for axes in (answers, money):
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(axis="x", bottom=False, labelbottom=False)
        axes.tick_params(axis="y", length=0, labelsize=9)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "day", "font.family": "sans-serif"}):
        figure.savefig(target, metadata={"Date": None, "Creator": None}, facecolor="white")


def _ms(value: float) -> str:
    return f"{value:.2g} ms" if value < 10 else f"{value:,.0f} ms"


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    draw(given.get("day", given), Path(sys.argv[2]))
