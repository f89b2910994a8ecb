"""Judged pairs of similar questions, and the right to serve that follows from them.

Pairs are judged oldest first within a scope, whatever came out of the ones before, and decided on in the order in which
they were judged: so the next look only adds to what the last one saw.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import msgspec
from sqlalchemy import Engine, delete, func, select, update

from gateway.cache.semantic.scope import SemanticScope, policy_off
from gateway.cache.semantic.verdicts import Verdict, publish
from gateway.clock import Clock
from gateway.errors import NotFound, StorageUnavailable
from gateway.settings import Settings
from gateway.storage.engine import reading, writing
from gateway.storage.models import SemanticPairRow, SemanticVerdictRow
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.storage.upsert import insert_or_replace
from gateway.types import Origin, PromptVersion
from tasks.evaluators.judge import judge_messages, read_judgement
from tasks.invalidation import active_versions
from tasks.llm import LlmCall, client
from tasks.registration import engine_of
from tasks.releases import store
from tasks.semantic_decision import Pair, Standing, State, decide
from tasks.specs.model import PromptSpec
from tasks.step import step

RIGHT_FROM = 0.75
"""Of each criterion, in [0, 1]: four of five."""
A_FEW = 16
"""Pairs after which the budget is looked at."""
MOST_TRIES = 3
WATCHED = 32
"""Pairs a run of a scope that serves already."""
UNJUDGED_FOR = 3 * 86_400.0
"""Seconds after which a pair that nobody judged is dropped: its answers are of another time."""
TEXT_FOR = 30 * 86_400.0
"""Seconds after which what was asked and answered is forgotten; what came of it is kept."""

_STANDING = tuple(field.name for field in fields(Standing))


@dataclass(frozen=True)
class Judged:
    """What a run made of one scope. Money is US dollars."""

    scope: SemanticScope
    standing: Standing
    judged: int = 0
    left: int = 0
    cost_usd: float = 0.0
    held: bool = False


@step("scopes with pairs")
def scopes_to_judge(settings: Settings) -> list[SemanticScope]:
    """Those of versions that serve or may come to serve."""
    engine = engine_of(settings)
    active = active_versions(engine)
    of = SemanticPairRow
    with reading(engine) as session:
        found = session.execute(select(of.tenant, of.prompt, of.version, of.recipe).distinct()).tuples().all()
    return sorted(
        (SemanticScope(*one) for one in found if one[:3] in active),
        key=lambda one: (one.tenant, one.prompt, one.version, one.recipe),
    )


@step("judge a scope")
def judge_scope(settings: Settings, clock: Clock, scope: SemanticScope, limit: int, budget_usd: float) -> Judged:
    """Judge at most ``limit`` pairs for at most ``budget_usd``, then decide and tell the gateways.

    Raises NotFound for a version that is gone, and StorageUnavailable.
    """
    engine = engine_of(settings)
    row = store.get_version(engine, scope.tenant, scope.prompt, scope.version)
    version = msgspec.convert(row.bundle, PromptVersion)
    if standing_of(engine, scope)[0].state is State.SERVING:
        limit = min(limit, WATCHED)  # what is proved is watched, not proved again
    waiting = _waiting(engine, scope, limit)
    judged, cost = 0, 0.0
    while waiting and cost < budget_usd:
        batch, waiting = waiting[:A_FEW], waiting[A_FEW:]
        spent, verdicts = _judge(settings, scope.tenant, PromptSpec.model_validate(row.spec), batch)
        _write(engine, batch, verdicts, clock.now())
        judged += sum(one is not None for one in verdicts)
        cost += spent
    found = look(engine, scope, version, clock.now())
    tell(settings, found, version)
    return Judged(scope, found.standing, judged, _count_waiting(engine, scope), cost, found.held)


@step("forget old pairs")
def forget_old(settings: Settings, clock: Clock) -> int:
    """Drop what was never judged, and forget the words of what was, after their time; returns how many."""
    now, of = clock.now(), SemanticPairRow
    with writing(engine_of(settings)) as session:
        gone = session.execute(delete(of).where(of.judged_at.is_(None), of.at < now - UNJUDGED_FOR))
        old = (of.judged_at.is_not(None)) & (of.at < now - TEXT_FOR) & (of.asked != "")
        blank = {"asked": "", "kept": "", "fresh_answer": "", "kept_answer": "", "reason": ""}
        forgotten = session.execute(update(of).where(old).values(**blank))
    return int(gone.rowcount or 0) + int(forgotten.rowcount or 0)  # type: ignore[attr-defined]


def look(engine: Engine, scope: SemanticScope, version: PromptVersion, now: float) -> Judged:
    """Decide on all that was judged so far, and keep the decision."""
    known, held = standing_of(engine, scope)
    policy = version.cache.semantic
    pairs = judged_pairs(engine, scope)
    last = max((one.judged_at for one in pairs), default=0.0)
    standing = decide(known, pairs, max_wrong=policy.max_wrong, precision=policy.precision, now=max(now, last))
    values = asdict(standing) | _columns(scope) | {"max_wrong": policy.max_wrong, "updated_at": now}
    with writing(engine) as session:
        insert_or_replace(session, SemanticVerdictRow, values | {"held": held})
    return Judged(scope, standing, held=held)


def standing_of(engine: Engine, scope: SemanticScope) -> tuple[Standing, bool]:
    """What was decided last, and whether somebody has switched serving off by hand."""
    with reading(engine) as session:
        row = session.get(SemanticVerdictRow, (scope.tenant, scope.prompt, scope.version, scope.recipe))
        if row is None:
            return Standing(), False
        values: dict[str, Any] = {name: getattr(row, name) for name in _STANDING}
        return Standing(**(values | {"state": State(row.state)})), row.held


def hold(engine: Engine, scope: SemanticScope, held: bool) -> None:
    """Switch serving off by hand, or leave it to the evidence again. Raises NotFound before the first look."""
    of = SemanticVerdictRow
    with writing(engine) as session:
        row = session.get(of, (scope.tenant, scope.prompt, scope.version, scope.recipe))
        if row is None:
            raise NotFound("nothing was judged in this scope yet, so nothing is served there")
        row.held = held


def hold_and_tell(settings: Settings, scope: SemanticScope, held: bool) -> None:
    """As ``hold``, and the gateways follow within seconds. Raises NotFound and StorageUnavailable."""
    engine = engine_of(settings)
    hold(engine, scope, held)
    row = store.get_version(engine, scope.tenant, scope.prompt, scope.version)
    tell(settings, Judged(scope, standing_of(engine, scope)[0], held=held), msgspec.convert(row.bundle, PromptVersion))


def judged_pairs(engine: Engine, scope: SemanticScope) -> list[Pair]:
    """Those that no guard spoke against, in the order in which they were judged."""
    of = SemanticPairRow
    columns = (of.similarity, of.correct, of.probability, of.at, of.judged_at)
    asked = select(*columns).where(*_in(scope), of.veto == "", of.judged_at.is_not(None), of.correct.is_not(None))
    with reading(engine) as session:
        rows = session.execute(asked.order_by(of.judged_at, of.id)).tuples().all()
    return [Pair(s, bool(correct), p, at, float(judged or 0)) for s, correct, p, at, judged in rows]


def tell(settings: Settings, found: Judged, version: PromptVersion) -> None:
    """Tell the gateways, for as long as a verdict is valid. Raises StorageUnavailable."""
    standing = found.standing
    may = not found.held and not policy_off(version.cache)
    verdict = Verdict(
        serving=standing.state is State.SERVING and standing.threshold is not None and may,
        threshold=standing.threshold if standing.threshold is not None else 1.0,
        upper=standing.upper,
        state="held" if found.held else standing.state.value,
    )
    known = client(settings)
    try:
        known.run(publish(known.gateway.state_redis, found.scope, verdict), patience=30.0)
    except REDIS_TROUBLE as trouble:
        raise StorageUnavailable("the state Redis did not take a verdict") from trouble


def same_answer(one: str, other: str) -> bool:
    """Whether two answers are the same text, spaces and capitals aside."""
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def _judge(
    settings: Settings, tenant: str, spec: PromptSpec, batch: Sequence[SemanticPairRow]
) -> tuple[float, list[tuple[bool, str, str] | None]]:
    """What it cost, and for each pair whether it is right, who says so and why; None where nobody could tell.

    The fresh answer is the reference: the judge is asked whether the kept one answers the *asked* question as well.
    """
    criteria = spec.gate.judge.criteria
    found: list[tuple[bool, str, str] | None] = [None] * len(batch)
    asking = []
    for place, pair in enumerate(batch):
        if same_answer(pair.fresh_answer, pair.kept_answer):
            found[place] = (True, "same", "")
        else:
            asking.append(place)
    calls = [
        LlmCall(
            tenant=tenant,
            origin=Origin.JUDGE,
            model=spec.gate.judge.model,
            messages=judge_messages(
                question=batch[place].asked,
                answer=batch[place].kept_answer,
                reference=batch[place].fresh_answer,
                criteria=criteria,
            ),
            params={"temperature": 0},
        )
        for place in asking
    ]
    cost = 0.0
    for place, result in zip(
        asking, client(settings).complete(calls, background=spec.background) if calls else (), strict=True
    ):
        if result.answer is None:
            continue
        cost += float(result.answer.paid_usd or 0)
        judgement = read_judgement(result.text, criteria)
        if judgement.score is not None:
            right = min(judgement.criteria.values()) >= RIGHT_FROM
            found[place] = (right, "judge", judgement.reason)
    return cost, found


def _write(
    engine: Engine, batch: Sequence[SemanticPairRow], verdicts: Sequence[tuple[bool, str, str] | None], now: float
) -> None:
    with writing(engine) as session:
        for pair, verdict in zip(batch, verdicts, strict=True):
            mine = update(SemanticPairRow).where(SemanticPairRow.id == pair.id, SemanticPairRow.judged_at.is_(None))
            if verdict is None:
                session.execute(mine.values(tries=SemanticPairRow.tries + 1))
            else:
                right, source, reason = verdict
                session.execute(mine.values(correct=right, source=source, reason=reason, judged_at=now))


def _waiting(engine: Engine, scope: SemanticScope, limit: int) -> list[SemanticPairRow]:
    """What no guard spoke against first: it decides; the others tell what the guards cost."""
    of = SemanticPairRow
    wanted = select(of).where(*_in(scope), of.judged_at.is_(None), of.tries < MOST_TRIES)
    with reading(engine) as session:
        return list(session.scalars(wanted.order_by(of.veto != "", of.at, of.id).limit(limit)))


def _count_waiting(engine: Engine, scope: SemanticScope) -> int:
    of = SemanticPairRow
    with reading(engine) as session:
        counted = select(func.count()).where(*_in(scope), of.judged_at.is_(None), of.tries < MOST_TRIES)
        return int(session.scalar(counted) or 0)


def _in(scope: SemanticScope) -> tuple[Any, ...]:
    of = SemanticPairRow
    return (
        of.tenant == scope.tenant,
        of.prompt == scope.prompt,
        of.version == scope.version,
        of.recipe == scope.recipe,
    )


def _columns(scope: SemanticScope) -> dict[str, Any]:
    """The scope as columns."""
    return msgspec.structs.asdict(scope)
