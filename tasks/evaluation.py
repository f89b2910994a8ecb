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
from tasks.fan_out import FanOut
from tasks.llm import IN_FLIGHT, ONE_BY_ONE, LlmCall, LlmResult, Verdict, client, judge
from tasks.specs.datasets import GoldenItem
from tasks.specs.model import Assertion, BackgroundSpec, GateSpec
from tasks.step import step

# The prompt's own fault: a score of 0. Any other error says nothing about the prompt.
_BLAMED = frozenset({ProviderRejectedRequest.code, "missing_variable", "invalid_request"})

PART = 25
"""Items of a task run: with four threads enough for all places in flight, and few enough to see it move."""

Rivals = Mapping[tuple[str, int], str]
"""Answers of the version in production by item and repeat."""


@dataclass(frozen=True)
class Part:
    """What one task run answers and judges: items with their repeats. Picklable, for another process may do it."""

    settings: Settings
    tenant: str
    version: PromptVersion
    plan: tuple[tuple[GoldenItem, int], ...]
    gate: GateSpec
    use_judge: bool
    background: BackgroundSpec
    in_flight: int

    def __len__(self) -> int:
        return len(self.plan)


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
    spread: FanOut,
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
    # What is packed or sent as a batch is worth the more, the more there is of it.
    size = PART if background.batching == "off" else max(1, len(plan))
    in_flight = max(1, IN_FLIGHT // (spread.processes or 1))
    parts = [
        Part(settings, tenant, version, tuple(plan[at : at + size]), gate, use_judge, background, in_flight)
        for at in range(0, len(plan), size)
    ]
    done = spread.map(answer_and_judge, f"answer and judge with {version.version}", parts)
    results = [result for part in done for result, _ in part]
    judged = [judgement for part in done for _, judgement in part]
    judged_by = judge_version(gate.judge.model, gate.judge.criteria, background.pack_size) if any(judged) else ""
    answered = [index for index, result in enumerate(results) if result.answer is not None]
    further: dict[int, dict[str, Score]] = {index: {} for index in answered}
    metrics = metrics or Metrics()
    if metrics.evaluators and answered:
        shown = [_answered(*plan[index], results[index], rivals or {}) for index in answered]
        for one in metrics.evaluators:
            scores = _score.named(f"{one.name} of {version.version}")(one.score, shown)
            for index, score in zip(answered, scores, strict=True):
                further[index][one.name] = score
    return [
        _evaluated(
            version.version,
            item,
            repeat,
            results[index],
            judged[index],
            gate.assertions,
            use_judge,
            further.get(index, {}),
            metrics.deciding,
            judged_by,
        )
        for index, (item, repeat) in enumerate(plan)
    ]


@step("answer and judge")
def answer_and_judge(part: Part) -> list[tuple[LlmResult, Judgement | None]]:
    """Of each item in order the answer, and what the judge says of it: None where there is none to judge."""
    calls = [
        LlmCall(
            tenant=part.tenant,
            origin=Origin.GATE,
            version=part.version,
            variables=item.variables,
            repeat=repeat,
            cache=CacheMode.REFRESH if _is_timed(part.gate, item) else CacheMode.DEFAULT,
        )
        for item, repeat in part.plan
    ]
    results = client(part.settings).complete(calls, part.in_flight, part.background)
    answered = [index for index, result in enumerate(results) if part.use_judge and result.answer is not None]
    verdicts = [
        Verdict(
            question=question_of(part.plan[index][0].variables),
            answer=results[index].text,
            reference=part.plan[index][0].reference,
            documents=_context(results[index]),
            repeat=part.plan[index][1],
        )
        for index in answered
    ]
    by = part.gate.judge
    judgements = (
        judge.fn(part.settings, part.tenant, by.model, by.criteria, verdicts, part.background, part.in_flight)
        if verdicts
        else []
    )
    judged = dict(zip(answered, judgements, strict=True))
    return [(result, judged.get(index)) for index, result in enumerate(results)]


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
