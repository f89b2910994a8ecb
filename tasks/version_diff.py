"""Two versions of a prompt side by side: their text, their gates' figures, the answers that changed. Pure."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tasks.registry import LoggedRun

_ABOUT = ("version", "author", "changelog", "description", "schema")
"""What says something about a version and changes nothing of what it does."""


@dataclass(frozen=True)
class ChangedAnswer:
    """The same item under both versions; scores in [0, 1], None where nothing is known."""

    item: str
    question: str
    before: str
    now: str
    score_before: float | None
    score: float | None
    why: str = ""

    @property
    def change(self) -> float:
        """Now minus before; 0 where either is not known."""
        if self.score is None or self.score_before is None:
            return 0.0
        return self.score - self.score_before


@dataclass(frozen=True)
class Figure:
    """A metric of both gates, None where a gate did not have it."""

    metric: str
    before: float | None
    now: float | None


@dataclass(frozen=True)
class Compared:
    """``changed``: the worst falls first; ``same``: how many items got the same answer. ``note``: what to bear in
    mind, for instance that the two gates asked different items."""

    figures: tuple[Figure, ...]
    changed: tuple[ChangedAnswer, ...]
    same: int
    note: str = ""


def text_diff(old: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, str]) -> list[str]:
    """Unified diff of two specs as JSON: the messages as text, then every other section; empty when they are equal."""
    return list(difflib.unified_diff(_lines(old), _lines(new), *names, lineterm="", n=2))


def compare_runs(old: str, before: LoggedRun | None, now: LoggedRun | None) -> Compared:
    """By the gate of the newer version where it was held against ``old``, else by the gates of each."""
    if now is None:
        return Compared((), (), 0, "their answers cannot be compared")
    if now.params.get("baseline") == old:
        return _compared(_own_figures(now), [(row, row, " before") for row in _golden(now)], "")
    if before is None:
        return Compared((), (), 0, f"their answers cannot be compared: no gate was held against {old}")
    earlier = {_key(row): row for row in _golden(before)}
    pairs = [(earlier[_key(row)], row, "") for row in _golden(now) if _key(row) in earlier]
    figures = [
        (name, before.metrics.get(name), now.metrics.get(name)) for name in _shown({**before.metrics, **now.metrics})
    ]
    differ = before.params.get("golden_digest") != now.params.get("golden_digest")
    judges = before.params.get("judge_version") != now.params.get("judge_version")
    notes = ["each by a gate of its own"]
    notes += ["whose golden sets differ: only items of both are shown"] if differ else []
    notes += ["whose judges differ: the scores cannot be compared"] if judges else []
    return _compared(figures, pairs, ", ".join(notes))


def _compared(
    figures: Sequence[tuple[str, float | None, float | None]],
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any], str]],
    note: str,
) -> Compared:
    rows = [
        ChangedAnswer(
            item=str(now["id"]) + (f" (repeat {now['repeat']})" if now.get("repeat") else ""),
            question=str(now.get("question") or ""),
            before=str(before.get(f"answer{suffix}") or ""),
            now=str(now.get("answer") or ""),
            score_before=_number(before.get(f"score{suffix}")),
            score=_number(now.get("score")),
            why=str(now.get("why") or ""),
        )
        for before, now, suffix in pairs
    ]
    changed = [row for row in rows if row.before != row.now]
    changed.sort(key=lambda row: (row.change, row.item))
    return Compared(tuple(Figure(*one) for one in figures), tuple(changed), len(rows) - len(changed), note)


def _own_figures(run: LoggedRun) -> list[tuple[str, float | None, float | None]]:
    compared = [name for name in _shown(run.metrics) if f"{name}_baseline" in run.metrics]
    return [(name, run.metrics[f"{name}_baseline"], run.metrics[name]) for name in compared]


def _shown(metrics: Mapping[str, float]) -> list[str]:
    derived = ("_baseline", "_difference", "_difference_lower", "_difference_upper")
    return sorted(name for name in metrics if not name.endswith(derived))


def _golden(run: LoggedRun) -> list[Mapping[str, Any]]:
    return [row for row in run.rows if row.get("kind") == "golden"]


def _key(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row.get("id"), row.get("repeat")


def _number(value: Any) -> float | None:
    # A table comes back with NaN where there was nothing.
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value == value else None


def _lines(spec: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for message in spec.get("template", ()):
        lines += [f"[{message.get('role')}]", *str(message.get("content", "")).splitlines(), ""]
    rest = {name: value for name, value in spec.items() if name != "template" and name not in _ABOUT}
    return lines + yaml.safe_dump(rest, sort_keys=True, allow_unicode=True, width=110).splitlines()
