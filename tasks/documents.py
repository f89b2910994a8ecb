"""After documents have changed: lost answers made again, and the proof that none is stale.

A change is visible to the cache before it was acknowledged (see ``gateway.cache.epochs``): nothing here is needed for
an answer to be right. It makes answers fast again, gives memory back and looks whether the promise was kept.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import CursorResult, Engine, select, update

from gateway.cache.epochs import UNKNOWN
from gateway.compose import Gateway
from gateway.pipeline import REVALIDATED
from gateway.prompts.projection import project_routes
from gateway.settings import Settings
from gateway.storage.engine import reading, writing
from gateway.storage.models import DocumentRow
from gateway.types import Answer, Layer, Origin, PromptVersion
from tasks.llm import LlmCall, LlmResult, client
from tasks.lost_questions import LostQuestion
from tasks.provenance import least_versions, outdated
from tasks.registration import engine_of
from tasks.releases.evidence import BLAMED_ERRORS
from tasks.step import step

BATCH = 16
PATIENCE = 1_800.0


@dataclass(frozen=True, order=True)
class Pending:
    """A document's version that no run has finished with yet."""

    tenant: str
    collection: str
    id: str
    version: int
    deleted: bool


@dataclass(frozen=True)
class Refreshed:
    """What re-answering a collection's lost questions came to. ``stale`` names documents that no answer may name.

    ``still_true`` answers are grounded by the changed documents just as before. ``checked`` questions were asked once
    more, ``from_cache`` of them were answered by the cache.
    """

    tenant: str
    collection: str
    lost: int = 0
    answered: int = 0
    still_true: int = 0
    already_fresh: int = 0
    failed: int = 0
    checked: int = 0
    from_cache: int = 0
    stale: tuple[str, ...] = ()
    removed: int = 0
    cost_usd: float = 0.0
    note: str = ""
    rows: Sequence[Mapping[str, Any]] = field(default=())
    outage: bool = False

    @property
    def done(self) -> bool:
        """Whether its documents need no further run. Questions that a prompt cannot answer do not hold them up."""
        return not self.stale and not self.outage


@step("pending documents")
def pending_documents(settings: Settings, limit: int) -> list[Pending]:
    """Of all tenants, the longest waiting first."""
    wanted = (
        select(DocumentRow)
        .where(DocumentRow.refreshed_version < DocumentRow.version)
        .order_by(DocumentRow.updated_at, DocumentRow.tenant, DocumentRow.collection, DocumentRow.id)
        .limit(limit)
    )
    with reading(engine_of(settings)) as session:
        return [
            Pending(row.tenant, row.collection, row.id, row.version, row.deleted) for row in session.scalars(wanted)
        ]


@step("answer again")
def answer_again(
    settings: Settings, tenant: str, collection: str, lost: Sequence[LostQuestion], budget_usd: float
) -> Refreshed:
    """Answer the lost questions, most asked first, until the budget is spent; then prove what is served.

    The proof asks each of them once more: the answer must name no version older than SQL knew before the question.
    """
    known, engine = client(settings), engine_of(settings)
    rows: list[dict[str, Any]] = []
    spent, codes = 0.0, set[str]()
    for start in range(0, len(lost), BATCH):  # the budget is looked at in between
        if spent >= budget_usd:
            break
        batch = lost[start : start + BATCH]
        results = known.complete([_call(one, Origin.WARM) for one in batch])
        for one, result in zip(batch, results, strict=True):
            spent += float(result.answer.paid_usd or 0) if result.answer else 0.0
            codes |= {result.error} if result.error else set()
            rows.append(_row(one, result))
    fresh = [one for one, row in zip(lost, rows, strict=False) if row["state"] != "failed"]
    before = least_versions(engine, tenant, collection)
    proofs = known.complete([_call(one, Origin.PROBE) for one in fresh])
    # Documents that were new in between are not in the first reading.
    least = {**least_versions(engine, tenant, collection), **before}
    states = [row["state"] for row in rows]
    answers = [result.answer for result in proofs if result.answer is not None]
    return Refreshed(
        tenant=tenant,
        collection=collection,
        lost=len(lost),
        answered=states.count("answered"),
        still_true=states.count("still true"),
        already_fresh=states.count("was fresh"),
        failed=states.count("failed"),
        checked=len(answers),
        from_cache=sum(answer.layer is not Layer.NONE for answer in answers),
        stale=_stale(answers, collection, least),
        cost_usd=spent + sum(float(answer.paid_usd or 0) for answer in answers),
        note=""
        if len(rows) == len(lost)
        else f"the budget of ${budget_usd:g} is spent; the rest is answered when asked",
        rows=rows,
        outage=bool(rows) and not fresh and not codes <= BLAMED_ERRORS,
    )


def _stale(answers: Sequence[Answer], collection: str, least: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(one for answer in answers for one in outdated(answer.reply.documents, collection, least))
    )


def _row(one: LostQuestion, result: LlmResult) -> dict[str, Any]:
    return {
        "question": one.text,
        "version": one.version.ref,
        "asked": one.count,
        "state": _state(result.answer),
        "documents": ", ".join(result.answer.reply.documents) if result.answer else result.error,
    }


def _state(answer: Answer | None) -> str:
    if answer is None:
        return "failed"
    if answer.layer in (Layer.NONE, Layer.COALESCED):
        return "answered"
    return "still true" if answer.cache_reason == REVALIDATED else "was fresh"


def _call(one: LostQuestion, origin: Origin) -> LlmCall:
    return LlmCall(
        tenant=one.version.tenant,
        origin=origin,
        version=one.version,
        variables=one.variables,
        messages=one.messages,
    )


@step("remove orphaned answers")
def remove_orphans(settings: Settings, refreshed: Refreshed) -> Refreshed:
    """What is left of answers that were made from what has changed, such as those of versions that serve no more.

    Last of all, so that a run that was killed finds again which questions were lost. Raises StorageUnavailable.
    """
    known = client(settings)
    work = _remove_orphans(known.gateway, engine_of(settings), refreshed.tenant, refreshed.collection)
    return replace(refreshed, removed=known.run(work, patience=PATIENCE))


async def _remove_orphans(gateway: Gateway, engine: Engine, tenant: str, collection: str) -> int:
    entries = [
        (entry.name, entry.epoch, entry.documents)
        async for entry in gateway.cache.survey(tenant)
        if entry.readable and entry.collection == collection
    ]
    # Read after the entries: what was kept under the current epoch since then is not among them.
    epoch = await gateway.epochs.current(tenant, collection)
    if epoch == UNKNOWN:
        return 0
    least = await asyncio.to_thread(least_versions, engine, tenant, collection)
    return await gateway.cache.drop(
        [name for name, of, documents in entries if of != epoch and outdated(documents, collection, least)]
    )


@step("note what is finished")
def note_refreshed(settings: Settings, documents: Sequence[Pending]) -> list[Pending]:
    """Those that are finished; one that has changed again meanwhile stays pending, for another run."""
    engine = engine_of(settings)
    return [one for one in documents if _note(engine, one)]


def _note(engine: Engine, one: Pending) -> bool:
    """Compare-and-set on the version."""
    change = (
        update(DocumentRow)
        .where(DocumentRow.tenant == one.tenant, DocumentRow.collection == one.collection, DocumentRow.id == one.id)
        .where(DocumentRow.version == one.version)
        .values(refreshed_version=one.version)
    )
    with writing(engine) as session:
        result = session.execute(change)
        assert isinstance(result, CursorResult)  # noqa: S101 - what an UPDATE always returns
        return result.rowcount == 1


@step("serving versions")
def serving_versions(settings: Settings, tenant: str, collection: str) -> list[PromptVersion]:
    """Of every prompt that is answered from the collection: in production, and in a running canary."""
    with reading(engine_of(settings)) as session:
        routes = project_routes(session)
    return [
        arm.version
        for route in routes
        if route.tenant == tenant
        for arm in route.arms
        if arm.version.retrieval is not None and arm.version.retrieval.collection == collection
    ]
