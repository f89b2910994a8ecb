"""Warming: the questions that users ask most, answered by the version that is about to serve, before they ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.clock import Clock
from gateway.errors import NotFound
from gateway.ledger.queries import frequent_questions
from gateway.settings import Settings
from gateway.types import Layer, Origin, PromptVersion
from tasks.llm import ONE_BY_ONE, LlmCall, complete
from tasks.registration import engine_of
from tasks.releases import store
from tasks.specs.model import BackgroundSpec, PromptSpec
from tasks.step import step

LOOK_BACK_DAYS = 7.0
A_FEW = 16
"""Questions after which the budget is looked at."""


@dataclass(frozen=True)
class Question:
    """A question that live users asked, ``count`` times; ``variables`` ask it again."""

    text: str
    variables: Mapping[str, str]
    count: int


@dataclass(frozen=True)
class Warmed:
    """What warming one version did. Latencies are means in milliseconds, money is US dollars."""

    prompt: str
    version: str
    questions: int = 0
    answered: int = 0
    already_warm: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    cold_ms: float | None = None
    warm_ms: float | None = None
    note: str = ""
    rows: Sequence[Mapping[str, Any]] = ()


@step("version to warm")
def version_to_warm(settings: Settings, tenant: str, prompt: str, version: str) -> PromptVersion:
    """The named version, or the one in production. Raises NotFound."""
    engine = engine_of(settings)
    name = version or store.get_prompt(engine, tenant, prompt).production
    if not name:
        raise NotFound(f"{prompt} has no version in production yet")
    return msgspec.convert(store.get_version(engine, tenant, prompt, name).bundle, PromptVersion)


@step("frequent questions")
def questions_to_warm(settings: Settings, clock: Clock, version: PromptVersion, top: int | None) -> list[Question]:
    """The most frequent live questions of the last week, as many as the prompt's policy says."""
    wanted = version.cache.warm_top if top is None else top
    if wanted <= 0 or not version.cache.exact or version.personal:
        return []
    since = clock.now() - LOOK_BACK_DAYS * 86_400
    found = frequent_questions(engine_of(settings), version.tenant, version.name, since, wanted)
    return [Question(one.question, one.variables, one.count) for one in found if one.variables]


@step("how to make background calls")
def background_of(settings: Settings, version: PromptVersion) -> BackgroundSpec:
    """What the version's prompt.yaml says."""
    row = store.get_version(engine_of(settings), version.tenant, version.name, version.version)
    return PromptSpec.model_validate(row.spec).background


@step("warm")
def warm(
    settings: Settings,
    version: PromptVersion,
    questions: Sequence[Question],
    budget_usd: float,
    background: BackgroundSpec = ONE_BY_ONE,
) -> Warmed:
    """Answer the questions, most frequent first, until the budget is spent; then read them again to compare."""
    rows: list[dict[str, Any]] = []
    spent = 0.0
    while len(rows) < len(questions) and spent < budget_usd:
        size = how_many(len(rows), spent, budget_usd, background)
        batch = questions[len(rows) : len(rows) + size]
        results = complete(settings, [_call(version, one) for one in batch], background)
        for question, result in zip(batch, results, strict=True):
            answer = result.answer
            spent += float(answer.paid_usd or 0) if answer else 0.0
            rows.append(
                {
                    "question": question.text,
                    "asked": question.count,
                    "state": "failed" if answer is None else "was warm" if answer.layer is Layer.EXACT else "answered",
                    "ms": answer.latency_ms if answer else None,
                    "error": result.error,
                }
            )
    fresh = [question for question, row in zip(questions, rows, strict=False) if row["state"] == "answered"]
    again = [result.answer for result in complete(settings, [_call(version, one) for one in fresh])] if fresh else []
    served = [answer.latency_ms for answer in again if answer is not None and answer.layer is Layer.EXACT]
    states = [row["state"] for row in rows]
    return Warmed(
        prompt=version.name,
        version=version.version,
        questions=len(questions),
        answered=states.count("answered"),
        already_warm=states.count("was warm"),
        failed=states.count("failed"),
        cost_usd=spent,
        cold_ms=None
        if background.batching == "batch_api"  # what a user would have waited for is not known
        else _mean([row["ms"] for row in rows if row["state"] == "answered"]),
        warm_ms=_mean(served),
        note="" if len(rows) == len(questions) else f"the budget of ${budget_usd:g} is spent",
        rows=rows,
    )


def how_many(answered: int, spent: float, budget_usd: float, background: BackgroundSpec) -> int:
    """Questions to answer before the budget is looked at again.

    A batch takes its time, however many it is of: after a first one, what the budget is likely to pay for goes at once.
    """
    if background.batching != "batch_api" or not spent:
        return A_FEW
    return max(A_FEW, int((budget_usd - spent) / (spent / answered)))


def _call(version: PromptVersion, question: Question) -> LlmCall:
    return LlmCall(tenant=version.tenant, origin=Origin.WARM, version=version, variables=question.variables)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
