"""What the semantic layer would have chosen for each question of a stream, and how right it would have been. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.cache.semantic import choice
from gateway.cache.semantic.guards import veto
from gateway.cache.semantic.index import Near
from tasks.statistics.semantic_threshold import JudgedPair, clopper_pearson_lower, clopper_pearson_upper
from tests.bench.semantic_data import Questions

_ROWS = 250


@dataclass(frozen=True)
class Method:
    """``voting``: answers are known, so they vote; otherwise a score is the similarity alone."""

    name: str
    voting: bool
    guard: choice.Veto

    @property
    def guarded(self) -> bool:
        return self.guard is veto


def unguarded(asked: str, kept: str) -> str:
    return ""


METHODS = (
    Method("nearest alone", voting=False, guard=unguarded),
    Method("nearest, guards", voting=False, guard=veto),
    Method("score", voting=True, guard=unguarded),
    Method("score, guards", voting=True, guard=veto),
)


@dataclass(frozen=True)
class Choice:
    """The kept question that would be served, from which value of the score on, and whether its answer is right."""

    value: float
    right: bool
    kept: str

    @property
    def pair(self) -> JudgedPair:
        return JudgedPair(self.value, self.right)


@dataclass(frozen=True)
class Rate:
    """``count`` of ``of``, with a 95 % interval (Clopper & Pearson)."""

    count: int
    of: int

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        if not self.of:
            return 0.0, 1.0
        return clopper_pearson_lower(self.count, self.of, 0.975), clopper_pearson_upper(self.count, self.of, 0.975)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.1%} [{low:.1%}, {high:.1%}]" if self.of else "–"


@dataclass(frozen=True)
class Served:
    """A stream of ``asked`` questions, served from one value on."""

    asked: int
    hits: int
    wrong: int

    @property
    def hit_rate(self) -> Rate:
        return Rate(self.hits, self.asked)

    @property
    def wrong_per_hit(self) -> Rate:
        return Rate(self.wrong, self.hits)

    @property
    def wrong_per_request(self) -> Rate:
        return Rate(self.wrong, self.asked)


def choose(
    asked: Questions, kept: Questions, method: Method, *, known: NDArray[np.int64] | None = None
) -> list[Choice | None]:
    """For each question what would be served, if anything fits.

    ``known``: how many of the kept questions were there when each was asked, shape (asked,); all without it.
    """
    found: list[Choice | None] = []
    for place, similarity, nearest in _nearest(asked, kept, known):
        answers = {kept.texts[at]: kept.answers[at] for at in nearest}
        near = [
            Near(kept.texts[at], float(one), kept.fingerprints[at] if method.voting else 0)
            for one, at in zip(similarity, nearest, strict=True)
        ]
        seen = choice.choose(asked.texts[place], near, method.guard)
        best = seen.fitting[0] if seen.fitting else None
        right = best is not None and answers[best.text] == asked.answers[place]
        found.append(Choice(seen.score(best), right, best.text) if best is not None else None)
    return found


def serve(choices: Sequence[Choice | None], threshold: float) -> Served:
    hits = [one for one in choices if one is not None and one.value >= threshold]
    return Served(len(choices), len(hits), sum(not one.right for one in hits))


def _nearest(
    asked: Questions, kept: Questions, known: NDArray[np.int64] | None
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.int64]]]:
    """For each question its place, and similarity and place of the most similar kept ones, best first."""
    everybody = np.arange(len(kept))
    for start in range(0, len(asked), _ROWS):
        similarity = asked.vectors[start : start + _ROWS] @ kept.vectors.T
        if known is not None:
            similarity[everybody[None, :] >= known[start : start + _ROWS, None]] = -1.0
        count = min(choice.CANDIDATES, len(kept))
        best = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        for row, places in enumerate(best):
            ordered = places[np.argsort(-similarity[row, places], kind="stable")]
            ordered = ordered[similarity[row, ordered] > -1.0]
            yield start + row, similarity[row, ordered], ordered
