"""What a run of the gate may take in calls and money, before the first call is made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, Engine, func, select

from gateway.pricing import price
from gateway.storage.engine import reading
from gateway.storage.models import CallRow
from gateway.types import Layer, ModelRef, Origin, PromptVersion, Usage
from tasks.specs.model import GateBudgetSpec, GateSpec
from tasks.statistics.repeats import Allowance

_CHARACTERS_A_TOKEN = 4
_PASSAGE_TOKENS = 250
_ANSWER_TOKENS = 300
_VERDICT_TOKENS = 80
_LAST_CALLS = 200


@dataclass(frozen=True)
class Sizes:
    """How many items of each split there are, and how many versions answer them."""

    golden: int
    must_pass: int
    live: int
    versions: int


@dataclass(frozen=True)
class CallCosts:
    """US dollars of one call, None where the price is unknown; ``measured``: by the ledger, else from lengths."""

    answer: float | None
    verdict: float | None
    measured: bool = False


@dataclass(frozen=True)
class Estimate:
    """Of the planned repeats, if nothing is answered from the cache; ``each_*`` is of one more repeat of one item."""

    calls: int
    usd: float | None
    each_calls: int
    each_usd: float | None
    measured: bool

    def in_words(self) -> str:
        money = "an unknown price" if self.usd is None else f"${self.usd:.2f}"
        basis = "the ledger's mean" if self.measured else "guessed from lengths"
        return f"at most {self.calls} calls and {money} ({basis})"


def estimate(gate: GateSpec, sizes: Sizes, costs: CallCosts, *, pack: int = 1) -> Estimate:
    """An upper bound on the calls: what is cached costs nothing, and packed verdicts may have to be asked singly."""
    judged = (sizes.golden + sizes.live) * gate.repeats * sizes.versions
    answers = judged + sizes.must_pass * gate.repeats
    pairwise = sum(one.type == "pairwise" for one in gate.evaluators) if sizes.versions > 1 else 0
    pairs = 2 * pairwise * sizes.golden * gate.repeats
    verdicts = (judged if pack == 1 else judged + math.ceil(judged / pack)) + pairs
    each_answers, each_verdicts = sizes.versions, sizes.versions + 2 * pairwise
    return Estimate(
        calls=answers + verdicts,
        usd=_sum(costs, answers, verdicts),
        each_calls=each_answers + each_verdicts,
        each_usd=_sum(costs, each_answers, each_verdicts),
        measured=costs.measured,
    )


def over_budget(found: Estimate, budget: GateBudgetSpec) -> str:
    """Why the planned repeats may not start; empty when they may."""
    if budget.calls is not None and found.calls > budget.calls:
        return f"it would take {found.in_words()}, gate.budget allows {budget.calls} calls"
    if budget.usd is not None and found.usd is None:
        return f"it would take {found.in_words()}: gate.budget.usd cannot be kept, set gate.budget.calls instead"
    if budget.usd is not None and found.usd is not None and found.usd > budget.usd:
        return f"it would take {found.in_words()}, gate.budget allows ${budget.usd:.2f}"
    return ""


def left_for_repeats(found: Estimate, budget: GateBudgetSpec) -> Allowance:
    """What the budget leaves for added repeats when the planned ones take all that was estimated."""
    return Allowance(
        calls=None if budget.calls is None else budget.calls - found.calls,
        usd=None if budget.usd is None or found.usd is None else budget.usd - found.usd,
        calls_each=found.each_calls,
        usd_each=found.each_usd or 0.0,
    )


def call_costs(engine: Engine, versions: Sequence[PromptVersion], judge: str) -> CallCosts:
    """By the mean of the last calls that a provider answered; where there are none, from lengths and list prices.

    Of several versions the dearest. Raises StorageUnavailable.
    """
    judging = ModelRef.parse(judge)
    measured = [_mean(engine, *_of(one)) for one in versions]
    verdict = _mean(engine, CallRow.origin == Origin.JUDGE.value, CallRow.model == judging.model)
    guessed = [_guess(one) for one in versions]
    answers = [guess if mean is None else mean for mean, guess in zip(measured, guessed, strict=True)]
    known = [one for one in answers if one is not None]
    costs = CallCosts(
        answer=max(known) if len(known) == len(answers) and known else None,
        verdict=_guess_verdict(judging) if verdict is None else verdict,
    )
    return replace(costs, measured=verdict is not None and all(one is not None for one in measured))


def _sum(costs: CallCosts, answers: int, verdicts: int) -> float | None:
    if (answers and costs.answer is None) or (verdicts and costs.verdict is None):
        return None
    return answers * (costs.answer or 0.0) + verdicts * (costs.verdict or 0.0)


def _of(version: PromptVersion) -> tuple[ColumnElement[bool], ...]:
    return (CallRow.tenant == version.tenant, CallRow.prompt == version.name, CallRow.version == version.version)


def _mean(engine: Engine, *chosen: ColumnElement[bool]) -> float | None:
    last = (
        select(CallRow.cost_usd)
        .where(*chosen, CallRow.layer == Layer.NONE.value, CallRow.status == "ok", CallRow.cost_usd.is_not(None))
        .order_by(CallRow.started_at.desc())
        .limit(_LAST_CALLS)
        .subquery()
    )
    with reading(engine) as session:
        found = session.scalar(select(func.avg(last.c.cost_usd)))
    return None if found is None else float(found)


def _guess(version: PromptVersion) -> float | None:
    template = sum(len(str(message.get("content", ""))) for message in version.template) // _CHARACTERS_A_TOKEN
    passages = version.retrieval.top_k * _PASSAGE_TOKENS if version.retrieval else 0
    output = version.params.get("max_tokens")
    usage = Usage(template + passages + 50, output if isinstance(output, int) else _ANSWER_TOKENS)
    return _dollars(version.chain[0], usage)


def _guess_verdict(judge: ModelRef) -> float | None:
    return _dollars(judge, Usage(_ANSWER_TOKENS * 2 + 4 * _PASSAGE_TOKENS, _VERDICT_TOKENS))


def _dollars(model: ModelRef, usage: Usage) -> float | None:
    usd = price(model.provider, model.model, usage).usd
    return None if usd is None else float(usd)
