"""Evaluating a version on a dataset: answers, assertions and judge, per item. A list in, a list out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import ProviderRejectedRequest
from gateway.settings import Settings
from gateway.types import Origin, PromptVersion
from tasks.evaluators.assertions import check_all, share_passed
from tasks.evaluators.judge import Judgement
from tasks.llm import ONE_BY_ONE, LlmCall, LlmResult, Verdict, complete, judge
from tasks.specs.datasets import GoldenItem
from tasks.specs.model import Assertion, BackgroundSpec, GateSpec
from tasks.statistics.gate_items import ItemResult

SCORE = "score"

# The prompt's own fault: a score of 0. Any other error says nothing about the prompt.
_BLAMED = frozenset({ProviderRejectedRequest.code, "missing_variable", "invalid_request"})


@dataclass(frozen=True)
class Evaluated:
    """One item under one version in one repeat. ``score`` in [0, 1]; None with ``error``: nothing is known."""

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


def question_of(variables: Mapping[str, str]) -> str:
    """What a judge is shown as the question: the variable of that name, or all of them."""
    return variables.get("question") or "\n".join(f"{name}: {value}" for name, value in variables.items())


def evaluate(
    settings: Settings,
    tenant: str,
    version: PromptVersion,
    items: Sequence[GoldenItem],
    gate: GateSpec,
    *,
    use_judge: bool = True,
    repeats: int = 1,
    background: BackgroundSpec = ONE_BY_ONE,
) -> list[Evaluated]:
    """All items under one version, ``repeats`` times each, through the cache: a second run of the same is free."""
    plan = [(item, repeat) for item in items for repeat in range(repeats)]
    calls = [
        LlmCall(tenant=tenant, origin=Origin.GATE, version=version, variables=item.variables, repeat=repeat)
        for item, repeat in plan
    ]
    results = complete.task.with_options(name=f"answer with {version.version}")(settings, calls, background)
    answered = [index for index, result in enumerate(results) if result.answer is not None]
    judged: dict[int, Judgement] = {}
    if use_judge and answered:
        verdicts = [
            Verdict(
                question=question_of(plan[index][0].variables),
                answer=results[index].text,
                reference=plan[index][0].reference,
                documents=_context(results[index]),
                repeat=plan[index][1],
            )
            for index in answered
        ]
        judgements = judge.task.with_options(name=f"judge {version.version}")(
            settings, tenant, gate.judge.model, gate.judge.criteria, verdicts, background
        )
        judged = dict(zip(answered, judgements, strict=True))
    return [
        _evaluated(version.version, item, repeat, results[index], judged.get(index), gate.assertions, use_judge)
        for index, (item, repeat) in enumerate(plan)
    ]


def _evaluated(
    version: str,
    item: GoldenItem,
    repeat: int,
    result: LlmResult,
    judgement: Judgement | None,
    common: Sequence[Assertion],
    use_judge: bool,
) -> Evaluated:
    if result.answer is None:
        if result.error in _BLAMED:
            return Evaluated(item, version, repeat, score=0.0, judge_reason=result.message)
        return Evaluated(item, version, repeat, error=f"{result.error}: {result.message}")
    checks = check_all((*common, *item.assertions), result.text)
    parts = [part for part in (judgement.score if judgement else None, share_passed(checks)) if part is not None]
    error = ""
    if use_judge and (judgement is None or judgement.score is None):
        error = f"not judged: {judgement.reason if judgement else 'no verdict'}"
    return Evaluated(
        item=item,
        version=version,
        repeat=repeat,
        answer=result.text,
        score=None if error or not parts else sum(parts) / len(parts),
        judged=judgement.score if judgement else None,
        judge_reason=judgement.reason if judgement else "",
        failed_assertions=tuple(one.reason for one in checks if not one.passed),
        passed=all(one.passed for one in checks),
        error=error,
        cost_usd=float(result.answer.paid_usd or 0),
        latency_ms=result.answer.latency_ms,
        criteria=judgement.criteria if judgement else {},
    )


def _context(result: LlmResult) -> str:
    return result.answer.call.context if result.answer else ""


def item_results(
    candidate: Sequence[Evaluated], baseline: Sequence[Evaluated] | None, must_pass: Sequence[Evaluated]
) -> list[ItemResult]:
    """What the gate decides on: golden items paired by id, must-pass items of the candidate alone."""
    before = _by_item(baseline or ())
    results: list[ItemResult] = []
    for name, rows in _by_item(candidate).items():
        pair = before.get(name)
        failed = next((row.error for row in (*rows, *(pair or ())) if row.error), None)
        results.append(
            ItemResult(
                id=name,
                candidate={SCORE: _scores(rows)},
                baseline={SCORE: _scores(pair)} if pair is not None else None,
                tags=rows[0].item.tags,
                error=failed,
            )
        )
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


def table(
    candidate: Sequence[Evaluated], baseline: Sequence[Evaluated] | None, must_pass: Sequence[Evaluated]
) -> list[dict[str, Any]]:
    """One row per item, old against new, the worst regressions first."""
    before = {(row.item.id, row.repeat): row for row in baseline or ()}
    rows = [_row("golden", row, before.get((row.item.id, row.repeat))) for row in candidate]
    rows += [_row("must-pass", row, None) for row in must_pass]
    return sorted(rows, key=lambda row: (row["kind"] != "must-pass" or row["passed"], _fall(row), row["id"]))


def _fall(row: Mapping[str, Any]) -> float:
    now, then = row["score"], row["score before"]
    return (now - then) if now is not None and then is not None else 0.0


def _row(kind: str, row: Evaluated, before: Evaluated | None) -> dict[str, Any]:
    return {
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
    }


def _by_item(rows: Sequence[Evaluated]) -> dict[str, list[Evaluated]]:
    grouped: dict[str, list[Evaluated]] = {}
    for row in rows:
        grouped.setdefault(row.item.id, []).append(row)
    return grouped


def _scores(rows: Sequence[Evaluated]) -> tuple[float, ...]:
    return tuple(row.score for row in rows if row.score is not None)
