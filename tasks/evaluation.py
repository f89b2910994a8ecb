"""Evaluating a version on a dataset: answers, assertions, judge and further metrics, per item. Lists in, lists out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import ProviderRejectedRequest
from gateway.settings import Settings
from gateway.types import CacheMode, Layer, Origin, PromptVersion
from tasks.evaluated import Evaluated, question_of
from tasks.evaluators.assertions import Facts, check_all, share_passed
from tasks.evaluators.base import Answered, Evaluator, Score
from tasks.evaluators.judge import Judgement, judge_version
from tasks.llm import ONE_BY_ONE, LlmCall, LlmResult, Verdict, complete, judge
from tasks.specs.datasets import GoldenItem
from tasks.specs.model import Assertion, BackgroundSpec, GateSpec
from tasks.step import step

# The prompt's own fault: a score of 0. Any other error says nothing about the prompt.
_BLAMED = frozenset({ProviderRejectedRequest.code, "missing_variable", "invalid_request"})

Rivals = Mapping[tuple[str, int], str]
"""Answers of the version in production by item and repeat."""


@dataclass(frozen=True)
class Metrics:
    """Further evaluators, and which of them decide: where one of those fails, its item is an error."""

    evaluators: Sequence[Evaluator] = ()
    deciding: frozenset[str] = frozenset()


def evaluate(
    settings: Settings,
    tenant: str,
    version: PromptVersion,
    items: Sequence[GoldenItem],
    gate: GateSpec,
    *,
    use_judge: bool = True,
    repeats: int = 1,
    first_repeat: int = 0,
    background: BackgroundSpec = ONE_BY_ONE,
    metrics: Metrics | None = None,
    rivals: Rivals | None = None,
) -> list[Evaluated]:
    """All items under one version, ``repeats`` times each, through the cache: a second run of the same is free.

    Where an assertion is about latency the model is asked anew, because an answer from the cache has none of its own.
    """
    plan = [(item, repeat) for item in items for repeat in range(first_repeat, first_repeat + repeats)]
    calls = [
        LlmCall(
            tenant=tenant,
            origin=Origin.GATE,
            version=version,
            variables=item.variables,
            repeat=repeat,
            cache=CacheMode.REFRESH if _is_timed(gate, item) else CacheMode.DEFAULT,
        )
        for item, repeat in plan
    ]
    results = complete.task.with_options(name=f"answer with {version.version}")(settings, calls, background)
    answered = [index for index, result in enumerate(results) if result.answer is not None]
    judged: dict[int, Judgement] = {}
    judged_by = ""
    if use_judge and answered:
        judged_by = judge_version(gate.judge.model, gate.judge.criteria, background.pack_size)
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
    further: dict[int, dict[str, Score]] = {index: {} for index in answered}
    metrics = metrics or Metrics()
    if metrics.evaluators and answered:
        shown = [_answered(*plan[index], results[index], rivals or {}) for index in answered]
        for one in metrics.evaluators:
            scores = _score.task.with_options(name=f"{one.name} of {version.version}")(one.score, shown)
            for index, score in zip(answered, scores, strict=True):
                further[index][one.name] = score
    return [
        _evaluated(
            version.version,
            item,
            repeat,
            results[index],
            judged.get(index),
            gate.assertions,
            use_judge,
            further.get(index, {}),
            metrics.deciding,
            judged_by,
        )
        for index, (item, repeat) in enumerate(plan)
    ]


@step("score")
def _score(score: Callable[[Sequence[Answered]], list[Score]], answers: Sequence[Answered]) -> list[Score]:
    return score(answers)


def _is_timed(gate: GateSpec, item: GoldenItem) -> bool:
    return any(one.type == "max_latency_ms" for one in (*gate.assertions, *item.assertions))


def _answered(item: GoldenItem, repeat: int, result: LlmResult, rivals: Rivals) -> Answered:
    facts = _facts(result)
    return Answered(
        question=question_of(item.variables),
        answer=result.text,
        variables=item.variables,
        reference=item.reference,
        documents=_context(result),
        tags=item.tags,
        assertions=item.assertions,
        cost_usd=facts.cost_usd,
        latency_ms=facts.latency_ms,
        repeat=repeat,
        rival=rivals.get((item.id, repeat)),
    )


def _facts(result: LlmResult) -> Facts:
    """What a provider charges for the answer, whoever served it; the time only where a provider was asked."""
    if result.answer is None:
        return Facts()
    usd = result.answer.cost.usd
    timed = result.answer.latency_ms if result.answer.layer is Layer.NONE else None
    return Facts(None if usd is None else float(usd), timed)


def _evaluated(
    version: str,
    item: GoldenItem,
    repeat: int,
    result: LlmResult,
    judgement: Judgement | None,
    common: Sequence[Assertion],
    use_judge: bool,
    further: Mapping[str, Score] | None = None,
    deciding: frozenset[str] = frozenset(),
    judged_by: str = "",
) -> Evaluated:
    further = further or {}
    if result.answer is None:
        if result.error in _BLAMED:
            # By every metric that decides, or a version that is refused would be judged by the items it answered.
            nought = dict.fromkeys(deciding, 0.0)
            return Evaluated(item, version, repeat, score=0.0, judge_reason=result.message, metrics=nought)
        return Evaluated(item, version, repeat, error=f"{result.error}: {result.message}")
    checks = check_all((*common, *item.assertions), result.text, _facts(result))
    parts = [part for part in (judgement.score if judgement else None, share_passed(checks)) if part is not None]
    errors = [f"not measured: {one.reason}" for one in checks if one.passed is None]
    if use_judge and (judgement is None or judgement.score is None):
        errors.append(f"not judged: {judgement.reason if judgement else 'no verdict'}")
    errors += [f"not scored: {one.reason}" for name, one in further.items() if one.failed and name in deciding]
    error = "; ".join(errors)
    return Evaluated(
        item=item,
        version=version,
        repeat=repeat,
        answer=result.text,
        score=None if error or not parts else sum(parts) / len(parts),
        judged=judgement.score if judgement else None,
        judge_reason=judgement.reason if judgement else "",
        failed_assertions=tuple(one.reason for one in checks if one.passed is False),
        passed=all(one.passed for one in checks),
        error=error,
        cost_usd=float(result.answer.paid_usd or 0),
        latency_ms=result.answer.latency_ms,
        criteria=judgement.criteria if judgement else {},
        metrics={name: one.value for name, one in further.items() if one.value is not None},
        reasons=tuple(f"{name}: {one.reason}" for name, one in further.items() if one.reason),
        judge=judged_by,
    )


def _context(result: LlmResult) -> str:
    return result.answer.call.context if result.answer else ""
