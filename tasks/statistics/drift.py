"""From two windows of calls to a verdict on drift. Pure; the tests of the columns are Evidently's, given as p-values.

One look errs with probability ``alpha`` at most: half of it for the embeddings, the other half shared equally by the
columns (Bonferroni). A window without enough rows is no verdict, whatever its values.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

Columns = Mapping[str, Sequence[float | None]]
"""One sequence per column, all equally long; None where the call has no such value."""


class Observed(Protocol):
    """What drift looks at of a call; ``id`` orders calls of the same moment."""

    @property
    def id(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def started_at(self) -> float: ...


class Outcome(StrEnum):
    DRIFT = "drift"
    STEADY = "steady"
    TOO_FEW = "too few rows"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class DriftVerdict:
    """``drifted`` names columns, and ``embeddings``; ``reasons`` say it to people."""

    outcome: Outcome
    drifted: tuple[str, ...] = ()
    reasons: tuple[str, ...] = field(default=())


EMBEDDINGS = "embeddings"


def one_per_user(calls: Iterable[Observed]) -> list[str]:
    """Ids of the latest call of each user, and of every call without a user: the unit is the user, as in a release.

    Several calls of one user resemble each other; counted as if they did not, they would alarm too often.
    """
    latest: dict[str, Observed] = {}
    alone: list[str] = []
    for call in sorted(calls, key=lambda one: (one.started_at, one.id)):
        if call.user:
            latest[call.user] = call
        else:
            alone.append(call.id)
    return alone + [call.id for call in latest.values()]


def comparable(current: Columns, reference: Columns, min_rows: int) -> tuple[str, ...]:
    """Columns with enough values in both windows, and not the same single value everywhere."""
    return tuple(
        name
        for name in current
        if name in reference
        and min(_known(current[name]), _known(reference[name])) >= min_rows
        and len({value for value in (*current[name], *reference[name]) if value is not None}) > 1
    )


def column_threshold(alpha: float, columns: int) -> float:
    """The p-value under which a column has drifted."""
    return alpha / 2 / max(columns, 1)


def decide_drift(
    column_p: Mapping[str, float], embedding_p: float | None, rows: tuple[int, int], *, alpha: float, min_rows: int
) -> DriftVerdict:
    """``rows``: current and reference. ``embedding_p``: None when the questions were not embedded."""
    if min(rows) < min_rows:
        return DriftVerdict(
            Outcome.TOO_FEW,
            reasons=(f"{rows[0]} rows now and {rows[1]} before; {min_rows} are needed in each window",),
        )
    limit = column_threshold(alpha, len(column_p))
    drifted = [name for name, p in column_p.items() if p < limit]
    reasons = [f"{name} has shifted (p = {column_p[name]:.2g} < {limit:.2g})" for name in drifted]
    if embedding_p is not None and embedding_p < alpha / 2:
        drifted.append(EMBEDDINGS)
        reasons.append(f"users ask about other things (MMD of question embeddings, p = {embedding_p:.2g})")
    if drifted:
        return DriftVerdict(Outcome.DRIFT, tuple(drifted), tuple(reasons))
    looked_at = f"{len(column_p)} columns" + (" and the embeddings" if embedding_p is not None else "")
    return DriftVerdict(Outcome.STEADY, reasons=(f"{looked_at} show no shift",))


def _known(values: Sequence[float | None]) -> int:
    return sum(value is not None for value in values)
