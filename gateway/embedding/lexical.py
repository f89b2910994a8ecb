"""The embedder that needs nothing: hashed words, word pairs, letter n-grams and near-synonyms.

It is a feature-hashing vectoriser (Weinberger et al., 2009, https://arxiv.org/abs/0902.2206) with sublinear term
frequency. It knows words, not meaning: good for tens to thousands of documents in plain English, no match for a
trained model on far paraphrases.
"""

import asyncio
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gateway.embedding.base import Embedded, Input, Vectors, estimate_tokens
from gateway.embedding.lexicon import CONCEPTS, EMPTY_STEMS, PHRASES, WEAK_STEMS
from gateway.embedding.words import stem, words
from gateway.errors import InvalidRequest

VERSION = 1
"""Raise it with every change that changes a vector."""

_EMPTY_WEIGHT = 0.04
_WEAK_WEIGHT = 0.5
_CONCEPT_WEIGHT = 0.5
_PAIR_WEIGHT = 0.5
_LETTERS_WEIGHT = 0.7
_INLINE_CHARACTERS = 4_000  # about a millisecond of work; more goes to a thread


class LexicalEmbedder:
    """Deterministic, offline, some 100,000 words a second on one core."""

    def __init__(self, dimensions: int = 1024) -> None:
        if dimensions < 16:
            raise ValueError("a lexical embedding needs at least 16 dimensions")
        self._dimensions = dimensions

    @property
    def name(self) -> str:
        return f"lexical-{VERSION}/{self._dimensions}"

    @property
    def dimensions(self) -> int:
        return self._dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimensions). Long batches are computed in a thread."""
        if sum(map(len, texts)) > _INLINE_CHARACTERS:
            return await asyncio.to_thread(self._rows, list(texts))
        return self._rows(texts)

    async def answer(self, inputs: Sequence[Input]) -> Embedded:
        """As ``embed``; tokens are estimated, as nothing is charged. Raises InvalidRequest for inputs of tokens."""
        texts = [one for one in inputs if isinstance(one, str)]
        if len(texts) < len(inputs):
            raise InvalidRequest("the lexical embedder takes texts, not tokens")
        return Embedded(await self.embed(texts), tuple(map(estimate_tokens, texts)))

    async def aclose(self) -> None:
        """Nothing is held."""

    def _rows(self, texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:] = self._row(text)
        return rows

    def _row(self, text: str) -> NDArray[np.float64]:
        stems = [stem(word) for word in words(text)]
        total = np.zeros(self._dimensions)
        for word, count in Counter(_with_phrases(stems)).items():
            slots, values = _word_features(word, self._dimensions)
            total[slots] += values * (1.0 + math.log(count))
        content = [word for word in stems if word not in EMPTY_STEMS]
        for pair, count in Counter(pairwise(content)).items():
            slot, sign = _place(f"p:{pair[0]} {pair[1]}", self._dimensions)
            total[slot] += sign * _PAIR_WEIGHT * _weight(pair[0]) * _weight(pair[1]) * (1.0 + math.log(count))
        length = math.sqrt(float(total @ total))
        return total / length if length else total


def _with_phrases(stems: Sequence[str]) -> Iterator[str]:
    """The stems, and after each pair that means something of its own, that meaning."""
    yield from stems
    for pair in pairwise(stems):
        if pair in PHRASES:
            yield PHRASES[pair]


def _weight(word: str) -> float:
    if word in EMPTY_STEMS:
        return _EMPTY_WEIGHT
    return _WEAK_WEIGHT if word in WEAK_STEMS else 1.0


@lru_cache(maxsize=20_000)
def _word_features(word: str, dimensions: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Distinct slots and their values for one occurrence of a stem: itself, its meanings, its letters."""
    values: dict[int, float] = {}

    def add(feature: str, weight: float) -> None:
        slot, sign = _place(feature, dimensions)
        values[slot] = values.get(slot, 0.0) + sign * weight

    weight = _weight(word)
    add(f"w:{word}", weight)
    for concept in CONCEPTS.get(word, ()):
        add(f"c:{concept}", weight * _CONCEPT_WEIGHT)
    if word not in EMPTY_STEMS and word.isalpha():
        grams = _letters(word[:40])
        for gram in grams:
            add(f"l:{gram}", weight * _LETTERS_WEIGHT / math.sqrt(len(grams)))
    return np.fromiter(values.keys(), dtype=np.int64), np.fromiter(values.values(), dtype=np.float64)


def _letters(word: str) -> list[str]:
    """Letter 3-grams with marked ends: a typo spoils three of them and leaves the others."""
    marked = f"<{word}>"
    return [marked[i : i + 3] for i in range(len(marked) - 2)]


@lru_cache(maxsize=50_000)
def _place(feature: str, dimensions: int) -> tuple[int, float]:
    """Slot and sign of a feature: the sign makes collisions cancel on average."""
    digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    number = int.from_bytes(digest, "little")
    return (number >> 1) % dimensions, 1.0 if number & 1 else -1.0
