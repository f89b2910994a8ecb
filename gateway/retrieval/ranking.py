"""Which chunks answer a question. Pure and deterministic: the same scores give the same choice."""

import re
from collections.abc import Sequence

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
    scores: NDArray[np.float32], owners: NDArray[np.int32], top_k: int, per_document: int
) -> list[tuple[int, float]]:
    """Rows and scores of the best chunks, best first; equal scores in order of row.

    ``scores`` has shape (chunks, questions), the whole query in column 0; ``owners`` (chunks,) tells which chunks
    belong to one document. The best chunk of each question is taken first, so that one question does not crowd
    out another, then the best of all, no more than ``per_document`` of one document while others have any. A chunk
    that has nothing in common with any question (score ≤ 0) is not an answer.
    """
    if top_k < 1 or not scores.size:
        return []
    rounded = np.round(scores.astype(np.float64), _DECIMALS)
    best = rounded.max(axis=1)
    leaders = rounded[:, 1:].argmax(axis=0)
    order = np.argsort(-best, kind="stable")
    chosen = _fill([], leaders, best, owners, top_k, top_k)
    chosen = _fill(chosen, order, best, owners, top_k, per_document)
    chosen = _fill(chosen, order, best, owners, top_k, top_k)
    chosen.sort(key=lambda row: (-best[row], row))
    return [(row, float(best[row])) for row in chosen]


def _fill(
    chosen: Sequence[int],
    candidates: NDArray[np.intp],
    best: NDArray[np.float64],
    owners: NDArray[np.int32],
    top_k: int,
    per_document: int,
) -> list[int]:
    taken = list(chosen)
    counts: dict[int, int] = {}
    for row in taken:
        counts[int(owners[row])] = counts.get(int(owners[row]), 0) + 1
    for row in map(int, candidates):
        if len(taken) == top_k or best[row] <= 0.0:
            break
        owner = int(owners[row])
        if row not in taken and counts.get(owner, 0) < per_document:
            taken.append(row)
            counts[owner] = counts.get(owner, 0) + 1
    return taken
