"""Yesterday's questions: a sample of what live users asked, so that a candidate answers them before they do again."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import select, true

from gateway.ledger.records import NOT_CACHED
from gateway.ledger.reports import CHAT
from gateway.settings import Settings
from gateway.storage.engine import reading
from gateway.storage.models import CallRow
from gateway.types import Origin, PromptVersion, Variable
from tasks.registration import engine_of
from tasks.specs.datasets import GoldenItem, content_id
from tasks.specs.model import TrafficSpec
from tasks.step import step

MOST_CALLS = 50_000
"""Of the newest, from which the sample is drawn."""


@step("sample live questions")
def sample_traffic(settings: Settings, version: PromptVersion, traffic: TrafficSpec, now: float) -> list[GoldenItem]:
    """Distinct questions that live users asked this prompt, whichever version answered; without references.

    What its caller kept away from caches is left out: the gate's own calls are cached, unless the version is personal.
    Raises StorageUnavailable.
    """
    if not traffic.sample:
        return []
    asked = (
        select(CallRow.variables)
        .where(
            CallRow.tenant == version.tenant,
            CallRow.prompt == version.name,
            CallRow.started_at >= now - traffic.within,
            CallRow.started_at < now,
            CallRow.origin == Origin.LIVE.value,
            CHAT,
            CallRow.variables.is_not(None),
            true() if version.personal else CallRow.cache_reason != NOT_CACHED,
        )
        .order_by(CallRow.started_at.desc(), CallRow.id.desc())
        .limit(MOST_CALLS)
    )
    with reading(engine_of(settings)) as session:
        rows = list(session.scalars(asked))
    return draw(rows, version.variables, traffic.sample, traffic.seed)


def draw(
    asked: Iterable[Mapping[str, Any] | None], declared: Sequence[Variable], sample: int, seed: int
) -> list[GoldenItem]:
    """``sample`` of the distinct questions, equally likely each, however often it was asked; the same for one seed.

    They are ordered by a hash of seed and question, so that one more question displaces at most one other. What this
    version's variables cannot ask (another version's calls, a text that is too long now) is left out.
    """
    known = {variable.name: variable for variable in declared}
    distinct: dict[str, Mapping[str, str]] = {}
    for variables in asked:
        if variables and _askable(variables, known):
            plain = {name: " ".join(str(value).split()).casefold() for name, value in variables.items()}
            distinct.setdefault(content_id(plain), {name: str(value) for name, value in variables.items()})
    order = sorted(distinct, key=lambda name: hashlib.sha256(msgspec.json.encode([seed, name])).digest())
    return [GoldenItem(id=f"live-{name[2:]}", variables=dict(distinct[name])) for name in order[:sample]]


def _askable(variables: Mapping[str, Any], known: Mapping[str, Variable]) -> bool:
    return (
        all(name in known and isinstance(value, str) for name, value in variables.items())
        and all(len(value) <= known[name].max_chars for name, value in variables.items())
        and all(name in variables for name, variable in known.items() if variable.required)
    )
