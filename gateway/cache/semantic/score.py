"""How far a similar question may be trusted: its similarity, less what its neighbours' answers say against it. Pure.

The nearest question alone is wrong where meanings lie close together: many kept questions are nearly as similar as it
and have other answers. So they vote, each with a weight that falls with its distance behind the best one, and the
answer that is about to be served is trusted by its share of the votes. Where each kept question has an answer of its
own, this is the margin to the next best; where many share one, it is their agreement.

    support = Σᵢ agreementᵢ · exp((sᵢ − s) / 0.05) / Σᵢ exp((sᵢ − s) / 0.05)        score = s − 0.5 · (1 − support)

This is a soft nearest-neighbours vote (Dudani, "The distance-weighted k-nearest-neighbor rule", IEEE SMC, 1976). Its
two constants are no thresholds: the threshold on the score is fitted for each scope.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from gateway.embedding.lexicon import EMPTY_STEMS
from gateway.embedding.words import stem, words

SCORE = "score-1"
"""Raise it with every change of a score: what was fitted on one is not fitted on another."""

VOTERS = 10
"""How many neighbours should be given: fewer know less."""

_NEARNESS = 0.05
_DOUBT = 0.5
_BITS = 64
_UNLIKE_BITS = 20  # of 64: texts without a word in common differ in 32 ± 4
_MOST_WORDS = 2_000


class Neighbour(Struct, frozen=True):
    """A kept question: its cosine with the one asked, and its answer's ``fingerprint``; 0 where that is not known."""

    similarity: float
    answer: int = 0


class Features(Struct, frozen=True):
    """What a score is made of. ``support`` is the chosen answer's share of the neighbours' votes, in [0, 1]."""

    similarity: float
    support: float


def features(chosen: Neighbour, near: Sequence[Neighbour]) -> Features:
    """``near`` are the most similar questions, the chosen one and those that a guard vetoed among them.

    Neighbours whose answer is not known do not vote; where the chosen one's is not known, nobody does and its
    support is 1.
    """
    if not chosen.answer:
        return Features(chosen.similarity, 1.0)
    voters = [one for one in near if one.answer]
    top = max([one.similarity for one in voters], default=chosen.similarity)
    weights = [math.exp((one.similarity - top) / _NEARNESS) for one in voters]
    total = sum(weights)
    if not total:
        return Features(chosen.similarity, 1.0)
    favour = sum([weight * agreement(chosen.answer, one.answer) for weight, one in zip(weights, voters, strict=True)])
    return Features(chosen.similarity, favour / total)


def score(seen: Features) -> float:
    """What a scope's threshold is compared with; at most the similarity, and equal to it with full support."""
    return seen.similarity - _DOUBT * (1.0 - seen.support)


def agreement(one: int, other: int) -> float:
    """How much two answers say the same, by their fingerprints: 1 for the same words, 0 for few in common."""
    return max(0.0, 1.0 - (one ^ other).bit_count() / _UNLIKE_BITS)


def fingerprint(answer: str) -> int:
    """64 bits that two answers share the more of, the more content words they share; never 0.

    SimHash (Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002) over distinct stems. Two
    milliseconds for the longest answer: what comes after 2,000 words does not count.
    """
    stems = {stem(word) for word in words(answer)[:_MOST_WORDS]}
    counted = sorted(stems - EMPTY_STEMS) or sorted(stems) or [answer]
    digests = b"".join(hashlib.blake2b(one.encode("utf-8", "surrogatepass"), digest_size=8).digest() for one in counted)
    bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8)).reshape(-1, _BITS)
    return int.from_bytes(np.packbits(2 * bits.sum(axis=0, dtype=np.int64) > len(counted)).tobytes(), "big") or 1
