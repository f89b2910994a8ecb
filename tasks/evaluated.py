"""Answers with their scores: what the gate decides on, and the rows that a person reads. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.specs.datasets import GoldenItem
from tasks.statistics.gate_items import ItemResult

SCORE = "score"
LIVE_QUESTIONS = "live_questions"
"""The metric of real traffic: what the judge says of answers to questions without a reference."""


@dataclass(frozen=True)
class Evaluated:
    """One item under one version in one repeat. ``score`` in [0, 1]; None with ``error``: nothing is known.

    ``metrics`` are those of further evaluators, ``judge`` is the judge's version. A repeat that was not ``planned`` was
    added because of what the planned ones showed.
    """

    item: GoldenItem
    version: str
    repeat: int
    answer: str = ""
    score: float | None = None
    judged: float | None = None
    judge_reason: str = ""
    failed_assertions: tuple[str, ...] = ()
    passed: bool = False
    error: str = ""
    cost_usd: float = 0.0
    latency_ms: float = 0.0
    criteria: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    judge: str = ""
    planned: bool = True


def question_of(variables: Mapping[str, str]) -> str:
    """What a judge is shown as the question: the variable of that name, or all of them."""
    return variables.get("question") or "\n".join(f"{name}: {value}" for name, value in variables.items())


def answers_of(rows: Sequence[Evaluated]) -> dict[tuple[str, int], str]:
    """The answers by item and repeat: the rivals of another version's."""
    return {(row.item.id, row.repeat): row.answer for row in rows if row.answer}


def item_results(
    candidate: Sequence[Evaluated],
    baseline: Sequence[Evaluated] | None,
    must_pass: Sequence[Evaluated],
    live: Sequence[Evaluated] = (),
    live_before: Sequence[Evaluated] | None = None,
) -> list[ItemResult]:
    """What the gate decides on: golden items and live questions paired by id, must-pass items of the candidate alone.

    Live questions have no reference, so that they are a metric of their own beside the golden items' score.
    """
    results = [*_paired(candidate, baseline, SCORE), *_paired(live, live_before, LIVE_QUESTIONS)]
    for name, rows in _by_item(must_pass).items():
        failed = next((row.error for row in rows if row.error), None)
        results.append(
            ItemResult(
                id=f"must-pass:{name}",
                tags=("must-pass", *rows[0].item.tags),
                must_pass=tuple(row.passed for row in rows),
                error=failed,
            )
        )
    return results


def _paired(candidate: Sequence[Evaluated], baseline: Sequence[Evaluated] | None, metric: str) -> Iterator[ItemResult]:
    before = _by_item(baseline or ())
    for name, rows in _by_item(candidate).items():
        pair = before.get(name)
        failed = next((row.error for row in (*rows, *(pair or ())) if row.error and row.planned), None)
        yield ItemResult(
            id=name,
            candidate=_scores(rows, metric, planned=True),
            baseline=_scores(pair, metric, planned=True) if pair is not None else None,
            tags=rows[0].item.tags,
            more_candidate=_scores(rows, metric, planned=False),
            more_baseline=_scores(pair or (), metric, planned=False),
            error=failed,
        )


def table(
    candidate: Sequence[Evaluated],
    baseline: Sequence[Evaluated] | None,
    must_pass: Sequence[Evaluated],
    live: Sequence[Evaluated] = (),
    live_before: Sequence[Evaluated] | None = None,
) -> list[dict[str, Any]]:
    """One row per item and repeat, old against new, the worst regressions first. All have the same columns."""
    before = {(row.item.id, row.repeat): row for row in (*(baseline or ()), *(live_before or ()))}
    shown = [("golden", row) for row in candidate] + [("live", row) for row in live]
    names = list(dict.fromkeys(name for _, row in shown for name in (*row.criteria, *row.metrics)))
    rows = [_row(kind, row, before.get((row.item.id, row.repeat)), names) for kind, row in shown]
    rows += [_row("must-pass", row, None, names) for row in must_pass]
    return sorted(rows, key=lambda row: (row["kind"] != "must-pass" or row["passed"], _fall(row), row["id"]))


def _fall(row: Mapping[str, Any]) -> float:
    now, then = row["score"], row["score before"]
    return (now - then) if now is not None and then is not None else 0.0


def _row(kind: str, row: Evaluated, before: Evaluated | None, names: Sequence[str]) -> dict[str, Any]:
    shown = {
        "kind": kind,
        "id": row.item.id,
        "repeat": row.repeat,
        "question": question_of(row.item.variables),
        "score": row.score,
        "score before": before.score if before else None,
        "passed": row.passed,
        "answer": row.answer,
        "answer before": before.answer if before else None,
        "reference": row.item.reference,
        "why": "; ".join((*row.failed_assertions, row.judge_reason, row.error)).strip("; "),
        "tags": ", ".join(row.item.tags),
        "judge": row.judge,
    }
    for name in names:
        shown[name] = _value(row, name)
        shown[f"{name} before"] = _value(before, name) if before else None
    return {**shown, "further reasons": "; ".join(row.reasons)}


def _value(row: Evaluated, name: str) -> float | None:
    return {**row.criteria, **row.metrics}.get(name)


def _by_item(rows: Sequence[Evaluated]) -> dict[str, list[Evaluated]]:
    grouped: dict[str, list[Evaluated]] = {}
    for row in rows:
        grouped.setdefault(row.item.id, []).append(row)
    return grouped


def _scores(rows: Sequence[Evaluated], metric: str, *, planned: bool) -> dict[str, tuple[float, ...]]:
    """The repeats' scores by metric, in order. Live questions count by their own metric alone."""
    found: dict[str, list[float]] = {metric: []} if planned else {}
    for row in rows:
        if row.planned is not planned:
            continue
        if row.score is not None:
            found.setdefault(metric, []).append(row.score)
        for name, value in {**row.criteria, **row.metrics}.items() if metric == SCORE and not row.error else ():
            found.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in found.items()}
