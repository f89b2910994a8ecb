"""What is known about the semantic layer of a prompt, from the ledger alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Engine, Integer, func, select

from gateway.cache.semantic.layer import is_lexical
from gateway.cache.semantic.scope import SemanticScope
from gateway.storage.engine import reading
from gateway.storage.models import CallRow, SemanticPairRow, SemanticVerdictRow
from gateway.types import Layer, Origin, PromptVersion, SemanticPolicy
from tasks.releases import store
from tasks.semantic_decision import Standing, State, fit_of, still_needed
from tasks.semantic_judging import judged_pairs, standing_of
from tasks.statistics.semantic_threshold import CurvePoint

EXAMPLES = 5
MOST_SCOPES = 20


@dataclass(frozen=True)
class Veto:
    """What one guard rejected: how many recorded pairs, how many of them were judged, and right all the same."""

    guard: str
    pairs: int
    judged: int
    right: int


@dataclass(frozen=True)
class Example:
    """Two questions that are not served for one another. ``why``: the guard, or the judge's reason."""

    asked: str
    kept: str
    similarity: float
    why: str


@dataclass(frozen=True)
class ScopeReport:
    """One scope. ``needed``: judged hits without a wrong one that would prove the threshold; None: not to be told."""

    scope: SemanticScope
    policy: SemanticPolicy
    standing: Standing
    held: bool
    lexical: bool
    judged: int
    waiting: int
    needed: int | None
    questions: int
    curve: Sequence[CurvePoint]
    vetoes: Sequence[Veto]
    rejected: Sequence[Example]
    wrong: Sequence[Example]

    @property
    def state(self) -> str:
        """As a person says it."""
        if self.held:
            return "switched off by hand"
        if self.policy.mode.value != "on" and self.standing.state is State.SERVING:
            return f"would serve; the prompt's mode is {self.policy.mode.value}"
        return self.standing.state.value


def report(engine: Engine, tenant: str, prompt: str, version: str = "") -> list[ScopeReport]:
    """Every scope of the prompt, or of one version of it, newest version first. Raises NotFound for no such prompt."""
    versions = store.list_versions(engine, tenant, prompt)
    wanted = [row for row in versions if version in ("", row.version)]
    found: list[ScopeReport] = []
    for row in wanted:
        policy = msgspec.convert(row.bundle, PromptVersion).cache.semantic if row.bundle else SemanticPolicy()
        for recipe in _recipes(engine, tenant, prompt, row.version):
            found.append(_scope(engine, SemanticScope(tenant, prompt, row.version, recipe), policy))
            if len(found) == MOST_SCOPES:
                return found
    return found


def _recipes(engine: Engine, tenant: str, prompt: str, version: str) -> list[str]:
    with reading(engine) as session:
        known: set[str] = set()
        for of in (SemanticPairRow, SemanticVerdictRow):
            here = (of.tenant == tenant, of.prompt == prompt, of.version == version)
            known |= set(session.scalars(select(of.recipe).where(*here).distinct()))
    return sorted(known)


def _scope(engine: Engine, scope: SemanticScope, policy: SemanticPolicy) -> ScopeReport:
    standing, held = standing_of(engine, scope)
    pairs = judged_pairs(engine, scope)
    questions = _questions(engine, scope)
    return ScopeReport(
        scope=scope,
        policy=policy,
        standing=standing,
        held=held,
        lexical=is_lexical(scope.recipe),
        judged=len(pairs),
        waiting=_waiting(engine, scope),
        needed=still_needed(standing, pairs, policy.max_wrong),
        questions=questions,
        curve=fit_of(pairs, policy.precision, questions).curve,
        vetoes=_vetoes(engine, scope),
        rejected=_examples(engine, scope, SemanticPairRow.veto != "", "veto"),
        wrong=_examples(engine, scope, (SemanticPairRow.veto == "") & SemanticPairRow.correct.is_(False), "reason"),
    )


def _questions(engine: Engine, scope: SemanticScope) -> int:
    """Live questions that the exact layer did not answer since the first pair: each could have been a hit."""
    since = select(func.min(SemanticPairRow.at)).where(*_in(scope)).scalar_subquery()
    asked = select(func.count()).where(
        CallRow.tenant == scope.tenant,
        CallRow.prompt == scope.prompt,
        CallRow.version == scope.version,
        CallRow.origin == Origin.LIVE.value,
        CallRow.evidence.is_(False),
        CallRow.layer.in_((Layer.NONE.value, Layer.SEMANTIC.value)),
        CallRow.started_at >= since - 60.0,
    )
    with reading(engine) as session:
        return int(session.scalar(asked) or 0)


def _waiting(engine: Engine, scope: SemanticScope) -> int:
    of = SemanticPairRow
    with reading(engine) as session:
        return int(session.scalar(select(func.count()).where(*_in(scope), of.judged_at.is_(None))) or 0)


def _vetoes(engine: Engine, scope: SemanticScope) -> list[Veto]:
    of = SemanticPairRow
    right = func.sum(of.correct.is_(True).cast(Integer))
    asked = select(of.veto, func.count(), func.count(of.judged_at), right).where(*_in(scope), of.veto != "")
    with reading(engine) as session:
        rows = session.execute(asked.group_by(of.veto).order_by(func.count().desc())).tuples().all()
    return [Veto(guard, pairs, judged, int(right or 0)) for guard, pairs, judged, right in rows]


def _examples(engine: Engine, scope: SemanticScope, which: Any, why: str) -> list[Example]:
    of = SemanticPairRow
    columns = (of.asked, of.kept, of.similarity, getattr(of, why))
    asked = select(*columns).where(*_in(scope), which, of.asked != "").order_by(of.similarity.desc()).limit(EXAMPLES)
    with reading(engine) as session:
        return [Example(*row) for row in session.execute(asked).tuples()]


def _in(scope: SemanticScope) -> tuple[Any, ...]:
    columns: Mapping[str, str] = msgspec.structs.asdict(scope)
    return tuple(getattr(SemanticPairRow, name) == value for name, value in columns.items())
