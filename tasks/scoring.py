"""Scores of live answers: a sample, equal in both arms, judged against the documents that grounded it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.ledger.queries import unscored_calls
from gateway.settings import Settings
from gateway.storage.engine import reading, writing
from gateway.storage.models import CallRow, ScoreRow
from gateway.storage.upsert import insert_missing
from gateway.types import Layer
from tasks.evaluated import question_of
from tasks.evaluators.assertions import Facts, check_all, share_passed
from tasks.evaluators.judge import Judgement, judge_version
from tasks.experiments.store import list_open
from tasks.llm import Verdict, judge
from tasks.registration import engine_of
from tasks.releases import store
from tasks.releases.evidence import QUALITY
from tasks.specs.model import BackgroundSpec, GateSpec, JudgeSpec, PromptSpec
from tasks.step import step

ASSERTIONS = "assertions"


@dataclass(frozen=True)
class Scored:
    """How many calls of one version were scored, their mean quality, and how many the judge could not score."""

    tenant: str
    prompt: str
    version: str
    calls: int
    mean_quality: float | None
    not_judged: int


@step("sample calls")
def sample(settings: Settings, since: float, limit: int) -> list[CallRow]:
    """Calls without a score: those of open releases' evidence samples first, whichever the arm, then the newest.

    Only answers that were made for their call: of one from the cache the documents are not at hand any more.
    """
    found = unscored_calls(engine_of(settings), since, limit, sources=("judge",))
    return [call for call in found if call.layer == Layer.NONE]


@step("score prompt")
def score_prompt(settings: Settings, clock: Clock, tenant: str, prompt: str, calls: Sequence[CallRow]) -> list[Scored]:
    """Judge calls of one prompt, version by version, and keep the scores. A call that cannot be judged stays without.

    The scores of all versions appear together, under one time: where a release's deadline falls between two passes,
    it finds as many of one arm's as of the other's.
    """
    engine = engine_of(settings)
    by_version: dict[str, list[CallRow]] = defaultdict(list)
    for call in calls:
        by_version[call.version].append(call)
    judged = [_judge_version(settings, engine, tenant, prompt, *one) for one in sorted(by_version.items())]
    now = clock.now()
    rows = [
        row
        for one in judged
        for call, judgement in zip(one.calls, one.judgements, strict=True)
        for row in score_rows(call, judgement, one.spec, now, one.judged_by)
    ]
    with writing(engine) as session:
        insert_missing(session, ScoreRow, rows)
    return [one.scored(tenant, prompt) for one in judged]


@dataclass(frozen=True)
class _Judged:
    version: str
    spec: PromptSpec
    judged_by: str
    calls: Sequence[CallRow]
    judgements: Sequence[Judgement]

    def scored(self, tenant: str, prompt: str) -> Scored:
        known = [one.score for one in self.judgements if one.score is not None]
        mean = sum(known) / len(known) if known else None
        return Scored(tenant, prompt, self.version, len(self.calls), mean, len(self.calls) - len(known))


def _judge_version(
    settings: Settings, engine: Engine, tenant: str, prompt: str, version: str, calls: Sequence[CallRow]
) -> _Judged:
    spec = PromptSpec.model_validate(store.get_version(engine, tenant, prompt, version).spec)
    by, background = judge_of(engine, tenant, prompt, version, spec)
    verdicts = [
        Verdict(question=question_of(call.variables or {}), answer=call.answer or "", documents=call.context or "")
        for call in calls
    ]
    judgements = judge(settings, tenant, by.model, by.criteria, verdicts, background)
    return _Judged(version, spec, judge_version(by.model, by.criteria, background.pack_size), calls, judgements)


def judge_of(
    engine: Engine, tenant: str, prompt: str, version: str, spec: PromptSpec
) -> tuple[JudgeSpec, BackgroundSpec]:
    """The version's own judge; where versions are compared, the same one for all: while a release is open the
    candidate's, while an experiment is its baseline's."""
    for release in store.open_releases(engine):
        ours = (release.tenant, release.prompt) == (tenant, prompt)
        if ours and version in (release.version, release.baseline) and release.policy.get("gate"):
            gate = GateSpec.model_validate(release.policy["gate"])
            background = release.policy.get("background")
            return gate.judge, BackgroundSpec.model_validate(background) if background else spec.background
    with reading(engine) as session:
        experiments = [row for row in list_open(session) if (row.tenant, row.prompt) == (tenant, prompt)]
    for experiment in experiments:
        arms = [str(arm["version"]) for arm in experiment.arms]
        if version in arms[1:]:
            baseline = PromptSpec.model_validate(store.get_version(engine, tenant, prompt, arms[0]).spec)
            return baseline.gate.judge, baseline.background
    return spec.gate.judge, spec.background


def score_rows(
    call: CallRow, judgement: Judgement, spec: PromptSpec, now: float, judged_by: str = ""
) -> list[dict[str, object]]:
    """Rows of ``scores`` for a call: the judge's, unless it could not judge, and the share of assertions that hold."""
    common = {"call_id": call.id, "tenant": call.tenant, "scored_at": now}
    rows: list[dict[str, object]] = []
    if judgement.score is not None:
        rows.append(
            {
                **common,
                "metric": QUALITY,
                "source": "judge",
                "value": judgement.score,
                "reason": judgement.reason,
                "judge": judged_by,
            }
        )
    facts = Facts(None if call.cost_usd is None else float(call.cost_usd), call.latency_ms)
    checks = check_all(spec.gate.assertions, call.answer or "", facts)
    share = share_passed(checks)
    if share is not None:
        broken = "; ".join(one.reason for one in checks if one.passed is False)
        row = {**common, "metric": ASSERTIONS, "source": "assertion", "value": share, "reason": broken, "judge": ""}
        rows.append(row)
    return rows
