"""Which of the similar questions may stand in for the one asked: pure."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from gateway.cache.semantic.guards import OF_THE_WORDING
from gateway.cache.semantic.index import Near
from gateway.cache.semantic.score import VOTERS, Neighbour, agreement, features, score

CANDIDATES = VOTERS
"""Nearest questions that are looked at."""
FLOOR = 0.7
"""Below this cosine a question is no candidate: nothing is compared, judged or served."""

_SAME_ANSWER = 0.5
"""Agreement from which two answers are taken for one."""

Veto = Callable[[str, str], str]
"""Why the answer to the second question must not be served for the first one; empty: nothing speaks against it."""


class Choice(Struct, frozen=True):
    """``fitting``: what no guard speaks against, most similar first. ``vetoed``: the most similar of the others.

    ``voters`` are all that were near, whose answers speak for or against each of them.
    """

    fitting: tuple[Near, ...] = ()
    vetoed: Near | None = None
    veto: str = ""
    voters: tuple[Neighbour, ...] = ()

    def score(self, one: Near) -> float:
        """What a threshold is compared with: the similarity, less what the other answers say against this one's."""
        return score(features(Neighbour(one.similarity, one.answer), self.voters))

    @property
    def best(self) -> Near | None:
        """What a judge would be shown: the first that fits, else what was rejected."""
        return self.fitting[0] if self.fitting else self.vetoed


def choose(asked: str, near: Sequence[Near], veto: Veto, floor: float = FLOOR) -> Choice:
    """``near`` is sorted, most similar first. The question itself is none: its answer was just looked for.

    An answer that a guard speaks against is not taken from a farther question either: that one is only said in too
    other words for the guard to see why not.
    """
    fitting: list[Near] = []
    rejected: Near | None = None
    reason = ""
    doubted: list[int] = []
    for one in near:
        if one.similarity < floor:
            break
        if one.text == asked:
            continue
        why = veto(asked, one.text)
        if why and one.answer and why not in OF_THE_WORDING:
            doubted.append(one.answer)
        if not why and not any(agreement(one.answer, answer) >= _SAME_ANSWER for answer in doubted if one.answer):
            fitting.append(one)
        elif why and rejected is None:
            rejected, reason = one, why
    voters = tuple([Neighbour(one.similarity, one.answer) for one in near if one.text != asked])
    return Choice(tuple(fitting), rejected, reason, voters)
