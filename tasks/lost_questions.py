"""Which questions a change of documents concerns: those of kept answers from before the change, which are looked at
again before they are served, and those of live calls that were answered from one of these documents.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Engine, Text, case, cast, false, func, or_, select

from gateway.cache.inventory import Kept
from gateway.clock import Clock
from gateway.compose import Gateway
from gateway.settings import Settings
from gateway.storage.engine import reading
from gateway.storage.models import CallRow
from gateway.types import Message, Origin, PromptVersion
from tasks.evaluated import question_of
from tasks.llm import client
from tasks.registration import engine_of
from tasks.step import step

LOOK_BACK_DAYS = 7.0
PATIENCE = 1_800.0
MAX_NAMED = 50
"""Documents that are looked for one by one; of more, every call of the collection is as good."""


@dataclass(frozen=True)
class Asked:
    """A question as it was asked: ``count`` live calls of it; ``touched``: it was answered from a changed document."""

    prompt: str
    variables: Mapping[str, str]
    messages: tuple[Message, ...] = ()
    count: int = 0
    touched: bool = False


@dataclass(frozen=True)
class LostQuestion:
    """A question that ``version`` should answer again."""

    version: PromptVersion
    variables: Mapping[str, str]
    messages: tuple[Message, ...]
    count: int

    @property
    def text(self) -> str:
        return question_of(self.variables)


@step("lost questions")
def lost_questions(
    settings: Settings,
    clock: Clock,
    tenant: str,
    collection: str,
    documents: Sequence[str],
    versions: Sequence[PromptVersion],
    top: int,
) -> list[LostQuestion]:
    """At most ``top``, those first that were answered from one of ``documents``, then by how often they were asked.

    Raises StorageUnavailable.
    """
    serving = {(one.name, one.version) for one in versions}
    known = client(settings)
    entries = known.run(_older(known.gateway, tenant, collection), patience=PATIENCE)
    named = tuple(f"doc:{collection}/{id}@" for id in documents)
    kept = [
        Asked(one.scope.prompt, one.variables, one.messages, touched=any(d.startswith(named) for d in one.documents))
        for one in entries
        if (one.scope.prompt, one.scope.version) in serving
    ]
    since = clock.now() - LOOK_BACK_DAYS * 86_400
    prompts = sorted({one.name for one in versions})
    live = live_questions(engine_of(settings), tenant, collection, prompts, documents, since)
    return choose(kept, live, versions, top)


def choose(
    kept: Iterable[Asked], live: Iterable[Asked], versions: Sequence[PromptVersion], top: int
) -> list[LostQuestion]:
    """Each question once for each version that serves its prompt and caches. Pure.

    ``kept`` are all lost; of the ``live`` ones those are that were answered from a changed document, the others only
    say how often a question was asked.
    """
    counts = {_identity(one): one for one in live}
    lost: dict[object, Asked] = {name: one for name, one in counts.items() if one.touched}
    for one in kept:
        name = _identity(one)
        asked, earlier = counts.get(name), lost.get(name)
        touched = one.touched or (earlier is not None and earlier.touched)
        lost[name] = replace(one, count=asked.count if asked else 0, touched=touched)
    ordered = sorted(lost.values(), key=lambda one: (not one.touched, -one.count, question_of(one.variables)))
    found = [
        LostQuestion(version, one.variables, one.messages, one.count)
        for one in ordered
        for version in versions
        if version.name == one.prompt and version.cache.exact and not version.personal
    ]
    return found[:top]


def live_questions(
    engine: Engine,
    tenant: str,
    collection: str,
    prompts: Sequence[str],
    documents: Sequence[str],
    since: float,
    limit: int = 2_000,
) -> list[Asked]:
    """What live users asked, the most frequent first, as far as the ledger keeps content. Raises StorageUnavailable."""
    many = len(documents) > MAX_NAMED
    names = [
        f'"doc:{collection}/' if many else f'"doc:{collection}/{id}@' for id in (documents[:1] if many else documents)
    ]
    grounds = cast(CallRow.documents, Text)
    named = or_(false(), *(grounds.contains(name, autoescape=True) for name in names))
    asked, count = cast(CallRow.variables, Text), func.count().label("count")
    wanted = (
        select(CallRow.prompt, asked, count, func.max(case((named, 1), else_=0)))
        .where(CallRow.tenant == tenant, CallRow.prompt.in_(prompts), CallRow.started_at >= since)
        .where(CallRow.origin == Origin.LIVE.value, CallRow.kind == "chat", CallRow.status == "ok")
        .where(CallRow.variables.is_not(None))
        .group_by(CallRow.prompt, asked)
        .order_by(count.desc(), func.max(CallRow.started_at).desc(), asked)
        .limit(limit)
    )
    with reading(engine) as session:
        rows = session.execute(wanted).tuples().all()
    return [Asked(prompt, json.loads(text), (), number, bool(touched)) for prompt, text, number, touched in rows]


async def _older(gateway: Gateway, tenant: str, collection: str) -> list[Kept]:
    """Readable entries from before the last change of the collection."""
    entries = [one async for one in gateway.cache.survey(tenant) if one.readable and one.collection == collection]
    epoch = await gateway.epochs.current(tenant, collection)
    return [one for one in entries if one.epoch != epoch]


def _identity(one: Asked) -> object:
    messages = tuple(repr(sorted(dict(message).items())) for message in one.messages)
    return one.prompt, tuple(sorted(one.variables.items())), messages
