"""Warming: the questions that users ask most, answered by the version that is about to serve, before they ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.clock import Clock
from gateway.errors import NotFound, StorageUnavailable
from gateway.ledger.frequencies import Frequencies
from gateway.ledger.queries import frequent_questions
from gateway.ledger.records import asked_by
from gateway.settings import Settings
from gateway.types import Answer, Layer, Origin, PromptVersion
from tasks.llm import ONE_BY_ONE, LlmCall, client, complete
from tasks.registration import engine_of
from tasks.releases import store
from tasks.specs.model import BackgroundSpec, PromptSpec
from tasks.step import step
from tasks.warm_marks import can_be_warmed

LOOK_BACK_DAYS = 7.0
A_FEW = 16
"""Questions after which the budget is looked at."""
ANSWERED, WARM, FAILED = "answered", "was warm", "failed"


@dataclass(frozen=True)
class Question:
    """A question that live users asked, ``count`` times (older ones count less); ``variables`` ask it again."""

    text: str
    variables: Mapping[str, str]
    count: float


@dataclass(frozen=True)
class WarmBudget:
    """Warming stops when it has cost ``usd`` or when ``calls`` have been made upstream, whichever comes first."""

    usd: float = 1.0
    calls: int = 500


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

    @property
    def done(self) -> bool:
        """Whether it may count as warmed: not where nobody could answer."""
        return not self.questions or self.answered + self.already_warm > 0


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
    """The most frequent live questions, as many as the prompt's policy says: by the counts in Redis, and by the ledger
    of the last week as far as there are none. Raises StorageUnavailable when SQL does not answer.
    """
    wanted = version.cache.warm_top if top is None else top
    if wanted <= 0 or not can_be_warmed(version):
        return []
    counted = _counted(settings, clock, version, wanted)
    if len(counted) >= wanted:
        return counted
    since = clock.now() - LOOK_BACK_DAYS * 86_400
    found = frequent_questions(engine_of(settings), version.tenant, version.name, since, wanted)
    ledger = [Question(one.question, one.variables, one.count) for one in found if one.variables]
    return first_of_each(counted, ledger, wanted)


def first_of_each(counted: Sequence[Question], ledger: Sequence[Question], wanted: int) -> list[Question]:
    """Each question once, those that were counted first. Pure."""
    seen: dict[object, Question] = {}
    for one in (*counted, *ledger):
        seen.setdefault(tuple(sorted(one.variables.items())), one)
    return list(seen.values())[:wanted]


def _counted(settings: Settings, clock: Clock, version: PromptVersion, wanted: int) -> list[Question]:
    known = client(settings)
    counts = Frequencies(known.gateway.state_redis, clock, timeout=max(1.0, settings.redis_timeout))
    try:
        found = known.run(counts.top(version.tenant, version.name, wanted), patience=30.0)
    except StorageUnavailable:
        return []
    return [Question(asked_by(one.variables), one.variables, round(one.weight, 2)) for one in found]


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
    budget: WarmBudget,
    background: BackgroundSpec = ONE_BY_ONE,
) -> Warmed:
    """Answer the questions, most frequent first, until the budget is spent; then read them again to compare."""
    rows: list[dict[str, Any]] = []
    spent, made = 0.0, 0
    while len(rows) < len(questions) and spent < budget.usd and made < budget.calls:
        size = min(how_many(len(rows), spent, budget.usd, background), budget.calls - made)
        batch = questions[len(rows) : len(rows) + size]
        results = complete.fn(settings, [_call(version, one) for one in batch], background)
        for question, result in zip(batch, results, strict=True):
            answer = result.answer
            made += answer is None or answer.layer is Layer.NONE
            spent += _cost(settings, answer) if answer else 0.0
            rows.append(
                {
                    "question": question.text,
                    "asked": question.count,
                    "state": _state(answer),
                    "cold ms": answer.latency_ms if answer and answer.layer is Layer.NONE else None,
                    "warm ms": None,
                    "error": result.error,
                }
            )
    _ask_again(settings, version, questions, rows)
    states = [row["state"] for row in rows]
    return Warmed(
        prompt=version.name,
        version=version.version,
        questions=len(questions),
        answered=states.count(ANSWERED),
        already_warm=states.count(WARM),
        failed=states.count(FAILED),
        cost_usd=spent,
        cold_ms=None
        if background.batching == "batch_api"  # what a user would have waited for is not known
        else _mean([row["cold ms"] for row in rows if row["cold ms"] is not None]),
        warm_ms=_mean([row["warm ms"] for row in rows if row["warm ms"] is not None]),
        note="" if len(rows) == len(questions) else _spent_up(budget, spent),
        rows=rows,
    )


def _ask_again(
    settings: Settings, version: PromptVersion, questions: Sequence[Question], rows: Sequence[dict[str, Any]]
) -> None:
    """What was answered now, as its next user will be."""
    fresh = [place for place, row in enumerate(rows) if row["state"] == ANSWERED]
    if not fresh:
        return
    client(settings).settle()
    again = complete.fn(settings, [_call(version, questions[place]) for place in fresh])
    for place, result in zip(fresh, again, strict=True):
        if result.answer is not None and result.answer.layer is not Layer.NONE:
            rows[place]["warm ms"] = result.answer.latency_ms


def _state(answer: Answer | None) -> str:
    if answer is None:
        return FAILED
    return ANSWERED if answer.layer is Layer.NONE else WARM


def _cost(settings: Settings, answer: Answer) -> float:
    """US dollars; of a model without a known price what budgets count it as, so that money bounds it too."""
    if answer.paid_usd is not None:
        return float(answer.paid_usd)
    usage = answer.reply.usage
    return (usage.input_tokens + usage.output_tokens) * settings.limits.unknown_price_usd_per_mtok / 1e6


def _spent_up(budget: WarmBudget, spent: float) -> str:
    what = f"${budget.usd:g} is" if spent >= budget.usd else f"{budget.calls} calls is"
    return f"the budget of {what} spent"


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
