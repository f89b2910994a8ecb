"""Which chunks answer a question. Pure and deterministic: the same scores give the same choice."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_QUERY_CHARACTERS = 4_000
MAX_PARTS = 4
_DECIMALS = 6  # finer differences are those of summation order
_ASKING = (
    "also|what|when|where|which|who|whose|why|how|can|could|do|does|did|is|are|will|would|should|may|must|for|in|if"
)
_NUMBER = r"\(?\d\)\s?"
_SPLIT = re.compile(  # after a sentence, at a line break, before "2)", at an "and" that begins another question
    rf"(?<=[.!?;])\s(?:{_NUMBER})?|\n|(?:^|\s){_NUMBER}"
    rf"|,?\s(?:and also|and then|as well as|and|plus)\s(?=(?:{_ASKING})\b)",
    re.IGNORECASE,
)
_SPACES = re.compile(r"[^\S\n]+")
_LEAST_LETTERS = 10
_SORTED_AT_FIRST = 8
"""Rows for each passage that is wanted: more are put into order only when one document crowds the first ones."""


def questions(query: str) -> tuple[str, ...]:
    """The query, and when it asks several things, each of them: at most ``MAX_PARTS`` besides the query.

    Empty for a query without a letter or digit. What is beyond ``MAX_QUERY_CHARACTERS`` is not looked at.
    """
    whole = _SPACES.sub(" ", query[:MAX_QUERY_CHARACTERS]).strip()
    if not any(character.isalnum() for character in whole):
        return ()
    parts = [part.strip() for part in _SPLIT.split(whole) if part and sum(map(str.isalnum, part)) >= _LEAST_LETTERS]
    return (whole, *parts[:MAX_PARTS]) if len(parts) > 1 else (whole,)


def choose(
    scores: NDArray[np.float32],
    owners: NDArray[np.int32],
    top_k: int,
    per_document: int,
    place: Callable[[int], Any] = int,
) -> list[tuple[int, float]]:
    """Rows and scores of the best chunks, best first; equal scores in order of ``place``, by default of row.

    ``scores`` has shape (chunks, questions), the whole query in column 0; ``owners`` (chunks,) tells which chunks
    belong to one document. The best chunk of each question is taken first, so that one question does not crowd
    out another, then the best of all, no more than ``per_document`` of one document while others have any. A chunk
    that has nothing in common with any question (score ≤ 0) is not an answer.
    """
    if top_k < 1 or not scores.size:
        return []
    rounded = scores.astype(np.float64)
    np.round(rounded, _DECIMALS, out=rounded)
    best = rounded.max(axis=1)
    chosen = _fill([], _leaders(rounded, place), best, owners, top_k, top_k)
    chosen = _fill(chosen, _in_order(best, place, top_k), best, owners, top_k, per_document)
    chosen = _fill(chosen, _in_order(best, place, top_k), best, owners, top_k, top_k)
    chosen.sort(key=lambda row: (-best[row], place(row)))
    return [(row, float(best[row])) for row in chosen]


def _leaders(rounded: NDArray[np.float64], place: Callable[[int], Any]) -> list[int]:
    """The best row of each question beyond the whole query that has one."""
    columns = [column for column in rounded.T[1:] if column.max() > 0.0]
    return [min(map(int, np.flatnonzero(column == column.max())), key=place) for column in columns]


def _in_order(best: NDArray[np.float64], place: Callable[[int], Any], top_k: int) -> Iterator[int]:
    """All rows with a score above 0, best first. Sorts no more of them than are asked for, in growing portions."""
    taken, above = 0, np.inf
    wanted = _SORTED_AT_FIRST * top_k
    while True:
        rows = np.flatnonzero((best < above) & (best > 0.0))
        if not rows.size:
            return
        if wanted < rows.size:
            least = np.partition(best[rows], rows.size - wanted)[rows.size - wanted]
            rows = rows[best[rows] >= least]  # with all that are equal to the last one
        above = float(best[rows].min())
        yield from sorted(map(int, rows), key=lambda row: (-best[row], place(row)))
        taken += rows.size
        wanted = taken * 4


def _fill(
    chosen: Sequence[int],
    candidates: Iterable[int],
    best: NDArray[np.float64],
    owners: NDArray[np.int32],
    top_k: int,
    per_document: int,
) -> list[int]:
    taken = list(chosen)
    counts: dict[int, int] = {}
    for row in taken:
        counts[int(owners[row])] = counts.get(int(owners[row]), 0) + 1
    for row in candidates:
        if len(taken) == top_k or best[row] <= 0.0:
            break
        owner = int(owners[row])
        if row not in taken and counts.get(owner, 0) < per_document:
            taken.append(row)
            counts[owner] = counts.get(owner, 0) + 1
    return taken
