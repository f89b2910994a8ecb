"""How wrong semantic hits are, as the semantic layer's judge has found: an estimate with its bound, by scope."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, case, func, select

from gateway.storage.engine import reading
from gateway.storage.models import SemanticPairRow, SemanticVerdictRow


@dataclass(frozen=True)
class WrongHits:
    """Of one scope. ``judged`` and ``wrong`` are hits of the window that were served, answered anew and compared.

    ``bound`` is the upper bound on the share of wrong hits that the scope's verdict goes by, of all its time.
    """

    prompt: str
    version: str
    recipe: str
    state: str
    judged: int
    wrong: int
    bound: float

    @property
    def share(self) -> float | None:
        return self.wrong / self.judged if self.judged else None


def wrong_hits(engine: Engine, tenant: str, prompt: str, since: float) -> Sequence[WrongHits]:
    """One line a scope that has a verdict, the busiest first. Raises StorageUnavailable."""
    pair, verdict = SemanticPairRow, SemanticVerdictRow
    judged = func.count(pair.correct)
    wrong = func.coalesce(func.sum(case((pair.correct.is_(False), 1), else_=0)), 0)
    of_scope = (
        (pair.tenant == verdict.tenant)
        & (pair.prompt == verdict.prompt)
        & (pair.version == verdict.version)
        & (pair.recipe == verdict.recipe)
        & pair.served
        & (pair.at >= since)
    )
    names = (verdict.prompt, verdict.version, verdict.recipe, verdict.state, verdict.upper)
    query = (
        select(*names, judged, wrong)
        .outerjoin(pair, of_scope)
        .where(verdict.tenant == tenant, *((verdict.prompt == prompt,) if prompt else ()))
        .group_by(*names)
        .order_by(judged.desc(), verdict.prompt, verdict.version)
        .limit(100)
    )
    with reading(engine) as session:
        rows = session.execute(query).all()
    return [
        WrongHits(name, version, recipe, state, judged=seen, wrong=bad, bound=bound)
        for name, version, recipe, state, bound, seen, bad in rows
    ]
