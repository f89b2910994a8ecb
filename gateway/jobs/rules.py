"""What may happen to a job, and what its parts are called. Pure."""

import re
from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Any

from gateway.errors import InvalidRequest

MAX_ATTEMPTS = 3
"""Tries of an item whose error may pass; each in a later run than the one before."""
MAX_AGE = 604_800.0
"""Seconds after which an unfinished job is given up: no queue is for ever."""

_JOB_ID = re.compile(r"job_[0-9a-z]{26}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,120}")
_MOST_SEGMENTS = 10
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class JobKind(StrEnum):
    """What the items are."""

    COMPLETION = "completion"
    IMPORT = "import"


class JobState(StrEnum):
    """Where a job is. *Cancelling* waits for the item that is being worked on."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ItemState(StrEnum):
    """Where an item is; *done* and *failed* are final."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


OPEN = (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING)
"""States that are followed by another one."""


def after_cancel(state: JobState, worked_on: bool) -> JobState:
    """The state once somebody has asked to cancel. What is finished stays as it ended."""
    if state not in OPEN:
        return state
    return JobState.CANCELLING if worked_on else JobState.CANCELLED


def after_work(state: JobState, *, total: int, done: int, failed: int, age: float) -> tuple[JobState, str]:
    """The state when a run lets go of a job, and what went wrong; *running* if another one is to go on.

    A job succeeds if anything of it worked: its count of failed items says the rest. ``age`` in seconds.
    """
    if state is not JobState.RUNNING:
        return JobState.CANCELLED if state in OPEN else state, ""
    if done + failed >= total:
        if done:
            return JobState.SUCCEEDED, ""
        return JobState.FAILED, "none of the items worked: see the errors of the items"
    if age > MAX_AGE:
        return JobState.FAILED, f"not finished within {MAX_AGE / 86_400:g} days"
    return JobState.RUNNING, ""


def progress(total: int, done: int, failed: int) -> float:
    """The finished share of the items, in [0, 1]; 0 while they are not counted yet."""
    return (done + failed) / total if total else 0.0


def call_id(job_id: str, seq: int, attempt: int) -> str:
    """The id of an item's call: the same one if it is made again after a kill, so that the ledger has one row.

    It has the form of every call's id and begins with the time of its job.
    """
    digest = int.from_bytes(sha256(f"{job_id}/{seq}/{attempt}".encode()).digest()[:10], "big")
    letters = "".join(_ALPHABET[(digest >> shift) & 31] for shift in range(75, -5, -5))
    return f"call_{job_id.removeprefix('job_')[:10]}{letters}"


def is_job_id(text: str) -> bool:
    """Whether it may be one at all: what is not reaches no SQL."""
    return _JOB_ID.fullmatch(text) is not None


def folder_segments(folder: str) -> tuple[str, ...]:
    """The segments of a relative folder, ``manuals/2026``. Raises InvalidRequest for whatever could lead elsewhere."""
    segments = tuple(folder.split("/"))
    if len(segments) > _MOST_SEGMENTS or not all(_SEGMENT.fullmatch(one) and one.strip(".") for one in segments):
        raise InvalidRequest(
            "the folder is not a relative path", hint="Such as 'manuals/2026': segments of A-Z a-z 0-9 . _ -."
        )
    return segments


def check_storable(value: Any, where: str) -> None:
    """Raises InvalidRequest for NUL characters, which PostgreSQL cannot keep; ``where`` names the field."""
    if _has_nul(value):
        raise InvalidRequest(f"{where} holds a NUL character", hint="Send text without U+0000.")


def storable(value: Any) -> Any:
    """The JSON value with U+FFFD for what SQL text cannot hold: NULs and halves of surrogate pairs."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(map(_has_nul, value))
    return False
