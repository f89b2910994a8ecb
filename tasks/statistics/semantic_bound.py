"""Whether a scope may serve semantic hits: a bound on wrong hits that is valid at every look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class ScopeState(StrEnum):
    """What the pairs judged so far allow."""

    LOOKING = "keep-looking"
    SERVING = "earn-serving"
    DEMOTED = "demote"


@dataclass(frozen=True, slots=True)
class ProofPair:
    """A candidate at or above the threshold, not one of those that fitted it: was its answer wrong?

    ``probability`` is the chance with which it was picked for judging, in (0, 1]; it may depend on the pair.
    """

    wrong: bool
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdict after ``pairs`` judged pairs, ``wrong`` of them wrong.

    ``upper`` and ``lower`` bound the share of wrong hits; each holds at every look at once with its confidence.
    """

    state: ScopeState
    pairs: int
    wrong: int
    rate: float
    upper: float
    lower: float


def prove(
    pairs: Sequence[ProofPair],
    *,
    max_wrong: float,
    alpha: float = 0.05,
    attempt: int = 1,
    least_probability: float = 1.0,
) -> Proof:
    """Folds all of an attempt's pairs, oldest first: looking, then serving, then, if later pairs break it, demoted.

    ``attempt`` counts a scope's thresholds from 1: each new threshold starts anew on new pairs, with a smaller share
    of ``alpha``, so that a scope whose wrong hits are at or above ``max_wrong`` ever serves with probability at most
    ``alpha``. ``least_probability``: no pair is picked for judging with less; raises ValueError when one was.
    """
    return Proof(ScopeState.LOOKING, len(pairs), sum(pair.wrong for pair in pairs), 0.0, 1.0, 0.0)
