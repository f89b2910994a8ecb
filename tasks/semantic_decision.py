"""May the semantic layer serve in a scope? The pure decision, from the pairs that were judged.

A threshold is fitted on all pairs so far and then fixed; only pairs that were asked *and* judged later prove it. So the
pairs that prove a threshold had no part in choosing it, and a threshold that fails makes room for another one, which
starts on new pairs with a smaller share of the error that all of them may make together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tasks.statistics.semantic_bound import Proof, ProofPair, ScopeState, prove
from tasks.statistics.semantic_threshold import JudgedPair, ThresholdFit, fit_threshold

ALPHA = 0.05
FIT_CONFIDENCE = 0.95
"""Of the fit, which only proposes: the proof that follows has the confidence that counts. A bold proposal costs a proof
that fails, and the next one has less of alpha left."""
PATIENCE = 400
"""Pairs after which a threshold that is not proved makes room, if a stricter one fits by then."""

_MOST_NEEDED = 4096


class State(StrEnum):
    """Only ``SERVING`` serves."""

    COLLECTING = "collecting"
    """No threshold fits yet."""
    PROVING = "proving"
    SERVING = "serving"
    DEMOTED = "demoted"
    """It has served, and later samples broke its bound: the next threshold is being looked for."""


@dataclass(frozen=True)
class Pair:
    """A judged pair that no guard spoke against. Times in Unix seconds."""

    similarity: float
    correct: bool
    probability: float
    at: float
    judged_at: float


@dataclass(frozen=True)
class Standing:
    """Field for field what ``SemanticVerdictRow`` says of a scope."""

    state: State = State.COLLECTING
    attempt: int = 0
    threshold: float | None = None
    since: float = 0.0
    fit_pairs: int = 0
    pairs: int = 0
    wrong: int = 0
    rate: float = 0.0
    upper: float = 1.0
    lower: float = 0.0
    reason: str = ""


def decide(known: Standing, pairs: Sequence[Pair], *, max_wrong: float, precision: float, now: float) -> Standing:
    """What these pairs, in the order in which they were judged, make of a scope. ``now`` is after the last of them."""
    if known.threshold is None:
        return _fitted(known, pairs, precision, now)
    proof = prove(proving(known, pairs), max_wrong=max_wrong, alpha=ALPHA, attempt=known.attempt)
    seen = _with(known, proof)
    if proof.state is ScopeState.SERVING:
        return replace(seen, state=State.SERVING, reason="")
    if proof.state is ScopeState.DEMOTED:
        again = _fitted(replace(seen, threshold=None), pairs, precision, now)
        reason = f"{proof.wrong} of {proof.pairs} judged hits were wrong: more than {max_wrong:.1%} can be"
        return replace(again, state=State.DEMOTED, reason=reason) if again.threshold is None else again
    if proof.lower > max_wrong or len(proving(known, pairs)) >= max(PATIENCE, 2 * known.fit_pairs):
        fit = fit_of(pairs, precision)
        if fit.threshold is None or fit.threshold > known.threshold:
            return _fitted(replace(seen, threshold=None), pairs, precision, now)
    return replace(seen, state=State.PROVING, reason="")


def proving(known: Standing, pairs: Sequence[Pair]) -> list[ProofPair]:
    """The pairs that may prove a standing's threshold, in the order in which they were judged."""
    if known.threshold is None:
        return []
    # Both times are looked at because they are of different clocks.
    return [
        ProofPair(not one.correct, one.probability)
        for one in pairs
        if one.at > known.since and one.judged_at > known.since and one.similarity >= known.threshold
    ]


def fit_of(pairs: Sequence[Pair], precision: float, questions: int | None = None) -> ThresholdFit:
    """The threshold that these pairs propose, and the whole curve."""
    judged = [JudgedPair(one.similarity, one.correct, one.probability) for one in pairs]
    enough = None if questions is None else max(questions, len(judged))
    return fit_threshold(judged, max_wrong=1 - precision, questions=enough, confidence=FIT_CONFIDENCE)


def still_needed(known: Standing, pairs: Sequence[Pair], max_wrong: float) -> int | None:
    """Judged hits that would prove the threshold, were they all right. None without a threshold, or if too many."""
    if known.threshold is None or known.state is State.SERVING:
        return 0 if known.state is State.SERVING else None
    so_far = proving(known, pairs)

    def serves(more: int) -> bool:
        found = prove([*so_far, *[ProofPair(False)] * more], max_wrong=max_wrong, alpha=ALPHA, attempt=known.attempt)
        return found.state is ScopeState.SERVING

    low, high = 0, 64
    while not serves(high):
        low, high = high, 2 * high
        if high > _MOST_NEEDED:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if serves(middle) else (middle, high)
    return high


def _fitted(known: Standing, pairs: Sequence[Pair], precision: float, now: float) -> Standing:
    fit = fit_of(pairs, precision)
    if fit.threshold is None:
        state = State.DEMOTED if known.state in (State.DEMOTED, State.SERVING) else State.COLLECTING
        return replace(known, state=state, threshold=None, fit_pairs=fit.pairs, reason=fit.reason)
    return Standing(
        state=State.PROVING,
        attempt=known.attempt + 1,
        threshold=fit.threshold,
        since=now,
        fit_pairs=fit.pairs,
    )


def _with(known: Standing, proof: Proof) -> Standing:
    return replace(known, pairs=proof.pairs, wrong=proof.wrong, rate=proof.rate, upper=proof.upper, lower=proof.lower)
