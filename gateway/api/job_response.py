"""Jobs and their items as callers see them."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from gateway.jobs.rules import ItemState, JobKind, JobState, progress
from gateway.storage.models import JobItemRow, JobRow


class Counts(BaseModel):
    total: int = Field(description="0 until a folder has been listed.")
    done: int
    failed: int
    waiting: int


class JobView(BaseModel):
    """Times are seconds since the epoch."""

    id: str
    object: Literal["job"] = "job"
    kind: JobKind
    state: JobState
    prompt: str | None = Field(description="Of bulk completions of a managed prompt, as it was asked for.")
    version: str | None = Field(description="That answers: known once the job has begun.")
    model: str | None
    collection: str | None
    counts: Counts
    progress: float = Field(ge=0, le=1)
    cost_usd: float = Field(description="So far, where the price is known.")
    error: str | None = Field(description="Why a failed job failed.")
    created_at: float
    started_at: float | None
    finished_at: float | None
    flow_run: str | None = Field(description="The Prefect flow run that works on it, or did last.")

    @classmethod
    def of(cls, row: JobRow) -> Self:
        request = row.request
        waiting = row.total - row.done - row.failed
        return cls(
            id=row.id,
            kind=JobKind(row.kind),
            state=JobState(row.state),
            prompt=request.get("prompt") or None,
            version=request.get("version") or None,
            model=request.get("model") or None,
            collection=request.get("collection") or None,
            counts=Counts(total=row.total, done=row.done, failed=row.failed, waiting=waiting),
            progress=progress(row.total, row.done, row.failed),
            cost_usd=float(row.cost_usd),
            error=row.error or None,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            flow_run=row.flow_run or None,
        )


class ItemError(BaseModel):
    code: str
    message: str


class ItemView(BaseModel):
    """``output`` is a ``chat.completion`` object, or the state of the imported document."""

    seq: int
    state: ItemState
    document: str | None = Field(description="Of an import: the id.")
    call_id: str | None = Field(description="Explained by GET /v1/calls/{id}.")
    output: dict[str, Any] | None
    error: ItemError | None = Field(description="Of a failed item; of a waiting one, why it will be tried again.")
    cost_usd: float | None

    @classmethod
    def of(cls, row: JobItemRow) -> Self:
        return cls(
            seq=row.seq,
            state=ItemState(row.state),
            document=row.input.get("id"),
            call_id=row.call_id or None,
            output=row.output,
            error=ItemError(code=row.error, message=row.message) if row.error else None,
            cost_usd=None if row.cost_usd is None else float(row.cost_usd),
        )


class JobPage(BaseModel):
    """``next`` is the ``after`` of the following page; null: this is the last one."""

    jobs: list[JobView]
    next: str | None

    @classmethod
    def of(cls, rows: Sequence[JobRow], limit: int) -> Self:
        return cls(jobs=[JobView.of(row) for row in rows], next=rows[-1].id if len(rows) == limit else None)


class ItemPage(BaseModel):
    """In order. ``next`` is the ``after`` of the following page; null: this is the last one."""

    items: list[ItemView]
    next: int | None

    @classmethod
    def of(cls, rows: Sequence[JobItemRow], limit: int) -> Self:
        return cls(items=[ItemView.of(row) for row in rows], next=rows[-1].seq if len(rows) == limit else None)
