"""Woken by ``promptyard.document.updated``, and swept: drain what is pending, whatever the event was about."""

from itertools import groupby

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import BaseModel, ConfigDict, Field

from blocks.workspace import load_workspace
from gateway.clock import Clock, SystemClock
from gateway.settings import Settings
from tasks.alerts import alert
from tasks.artifacts import artifact_key, markdown, markdown_table
from tasks.cache_history import note_probe
from tasks.documents import (
    Pending,
    Refreshed,
    answer_again,
    note_refreshed,
    pending_documents,
    remove_orphans,
    serving_versions,
)
from tasks.embedding_anew import embed_anew
from tasks.lost_questions import lost_questions

ROUNDS = 5
"""A run ends after so many: what goes on changing is the next run's."""


class UpdateRequest(BaseModel):
    """The event's payload, which only wakes the run and is shown on its page; and the bounds of a run."""

    model_config = ConfigDict(extra="ignore")

    tenant: str = ""
    collection: str = ""
    document_id: str = ""
    version: int = 0
    deleted: bool = False
    limit: int = Field(500, ge=1, le=10_000, description="Documents a round.")
    top: int = Field(200, ge=0, le=5000, description="Lost questions of a collection that are answered again.")
    budget_usd: float = Field(1.0, gt=0, description="Answering again stops when a collection's has cost this much.")


@flow(name="update_documents", persist_result=False)
def update_documents(request: UpdateRequest | None = None) -> list[Refreshed]:
    """Idempotent, and may be killed anywhere: a document stays pending until all of its steps are done."""
    request = request or UpdateRequest()
    settings, clock = load_workspace().settings, SystemClock()
    refreshed: list[Refreshed] = []
    tried: set[Pending] = set()
    for _ in range(ROUNDS):
        waiting = [one for one in pending_documents(settings, request.limit) if one not in tried]
        if not waiting:
            break
        tried |= set(waiting)
        for (tenant, collection), group in groupby(sorted(waiting), key=lambda one: (one.tenant, one.collection)):
            refreshed.append(_refresh(settings, clock, tenant, collection, list(group), request))
    if not refreshed:
        markdown("documents", "No document was waiting: another run has done it.", "nothing was waiting")
    return refreshed


def _refresh(
    settings: Settings, clock: Clock, tenant: str, collection: str, waiting: list[Pending], request: UpdateRequest
) -> Refreshed:
    embedded = embed_anew(settings, tenant, collection)
    versions = serving_versions(settings, tenant, collection)
    documents = [one.id for one in waiting]
    lost = lost_questions(settings, clock, tenant, collection, documents, versions, request.top) if versions else []
    refreshed = answer_again(settings, tenant, collection, lost, request.budget_usd)
    refreshed = remove_orphans(settings, refreshed)
    note_probe(settings, clock, "update_documents", tenant, collection, refreshed.checked, refreshed.stale)
    finished = note_refreshed(settings, waiting) if refreshed.done else []
    _show(refreshed, waiting, finished, embedded)
    if refreshed.stale:
        alert(
            settings,
            "stale_answer",
            f"answers from {collection} name documents that are not current: {', '.join(refreshed.stale[:5])}",
            tenant=tenant,
            collection=collection,
        )
    if refreshed.outage:
        get_run_logger().warning("no provider answered: the documents of %s wait for the next run", collection)
    return refreshed


def _show(refreshed: Refreshed, waiting: list[Pending], finished: list[Pending], embedded: int) -> None:
    rows = [
        {
            "document": one.id,
            "version": one.version,
            "change": "deleted" if one.deleted else "written",
            "state": "finished" if one in finished else "waits for the next run",
        }
        for one in waiting
    ]
    facts: list[dict[str, object]] = [
        {"": "documents embedded anew", "value": embedded},
        {"": "questions that the change may concern", "value": refreshed.lost},
        {"": "answered again", "value": refreshed.answered},
        {"": "still true", "value": refreshed.still_true},
        {"": "were fresh already", "value": refreshed.already_fresh},
        {"": "failed", "value": refreshed.failed},
        {"": "orphaned answers removed from the cache", "value": refreshed.removed},
        {"": "cost (USD)", "value": refreshed.cost_usd},
    ]
    proof = (
        f"{refreshed.checked} questions asked again, {refreshed.from_cache} answered by the cache, "
        f"**{len(refreshed.stale)} stale**."
    )
    stale = "\n".join(f"- `{one}`" for one in refreshed.stale[:50])
    title = (
        f"{refreshed.collection}: {len(finished)} of {len(waiting)} documents finished, {len(refreshed.stale)} stale"
    )
    markdown(
        artifact_key("documents", refreshed.collection),
        f"# {title}\n\n{markdown_table(rows, limit=50)}\n{markdown_table(facts)}\n## Proof\n\n{proof}\n\n{stale}\n\n"
        f"{refreshed.note}\n\n{markdown_table(list(refreshed.rows), limit=50)}",
        title,
    )
