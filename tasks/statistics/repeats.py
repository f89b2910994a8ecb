"""Which items are worth asking again: those that changed and those that are flaky, within what is left to spend.

Repeats that are chosen because of a first result may confirm a fall; they may not take part in proving that there is
none. An item that falls in 3 of 10 tries shows it in the first try 3 times of 10, and only then is it repeated: its
mean over all tries is pulled towards no change, while the 7 others, which looked unchanged, keep their 0. Whatever the
true fall is, the mean over items then shows a smaller one (simulated in the tests). So the bounds that let a version
pass rest on the planned repeats alone, and a version fails only if the harm is still there with all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.statistics.gate_items import ItemResult

_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left: calls and US dollars, None without limit; ``calls_each`` and ``usd_each`` are of one repeat."""

    calls: int | None = None
    usd: float | None = None
    calls_each: int = 1
    usd_each: float = 0.0

    def repeats(self) -> int | None:
        """How many repeats of one item fit in; None without limit."""
        fits = []
        if self.calls is not None:
            fits.append(max(0, self.calls) // max(1, self.calls_each))
        if self.usd is not None and self.usd_each > 0.0:
            fits.append(int(max(0.0, self.usd) / self.usd_each))
        return min(fits) if fits else None


@dataclass(frozen=True, slots=True)
class RepeatPlan:
    """``items`` to ask ``times`` more, the largest change first; ``left_out`` would have been worth it too."""

    items: tuple[str, ...]
    times: int
    left_out: int

    @property
    def repeats(self) -> int:
        return len(self.items) * self.times


def plan_repeats(items: Sequence[ItemResult], metric: str, times: int, allowance: Allowance) -> RepeatPlan:
    """Items whose mean changed or whose repeats disagree; each is asked ``times`` more, or not at all.

    An item without a score, or with an error, is not asked: there is nothing to confirm.
    """
    worth: list[tuple[float, float, str]] = []
    for item in items:
        change = item.difference(metric)
        if item.error is not None or change is None:
            continue
        spread = max(_spread(item.candidate.get(metric, ())), _spread((item.baseline or {}).get(metric, ())))
        if abs(change) > _SAME or spread > _SAME:
            worth.append((abs(change), spread, item.id))
    order = [name for _, _, name in sorted(worth, key=lambda one: (-one[0], -one[1], one[2]))]
    fits = allowance.repeats()
    most = len(order) if fits is None else (fits // times if times else 0)
    chosen = tuple(order[:most]) if times else ()
    return RepeatPlan(chosen, times, len(order) - len(chosen))


def _spread(scores: Sequence[float]) -> float:
    return max(scores) - min(scores) if scores else 0.0
