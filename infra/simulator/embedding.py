"""Deterministic unit vectors from hashed features, so that similar texts are near.

Features are word terms (stems and synonym groups), pairs of neighbouring terms, and character trigrams of words; each
is hashed to a few signed coordinates (feature hashing, Weinberger et al. 2009).
"""

import hashlib
import math
from array import array
from functools import lru_cache
from itertools import pairwise

from .practice.words import canonical, raw_words, weight

DEFAULT_DIMENSIONS = {"text-embedding-3-large": 3072}
_COORDINATES = 3


def dimensions_of(model: str) -> int:
    """Length of a model's vectors when the request names none: 3072 for ``text-embedding-3-large``, else 1536."""
    return DEFAULT_DIMENSIONS.get(model, 1536)


@lru_cache(maxsize=4_096)
def embed(text: str, dimensions: int) -> "array[float]":
    """A float32 vector of length 1; an empty text points along the first axis."""
    values: dict[int, float] = {}
    for feature, strength in _features(text):
        for index, sign in _coordinates(feature):
            place = index % dimensions
            values[place] = values.get(place, 0.0) + sign * strength
    norm = math.sqrt(sum(v * v for v in values.values()))
    vector = array("f", bytes(4 * dimensions))
    if not norm:
        vector[0] = 1.0
        return vector
    for place, value in values.items():
        vector[place] = value / norm
    return vector


def _features(text: str) -> list[tuple[str, float]]:
    words = raw_words(text) or tuple(text.lower().split())
    terms = [canonical(w) for w in words]
    found: dict[str, float] = {}
    for term in terms:
        found["w:" + term] = found.get("w:" + term, 0.0) + weight(term)
    for first, second in pairwise(terms):
        found[f"b:{first} {second}"] = 0.4
    for word in words:
        padded = f"^{word}$"
        for start in range(len(padded) - 2):
            found.setdefault("g:" + padded[start : start + 3], 0.25)
    return [(feature, 1 + math.log(value) if value > 1 else value) for feature, value in found.items()]


@lru_cache(maxsize=100_000)
def _coordinates(feature: str) -> tuple[tuple[int, int], ...]:
    digest = hashlib.blake2b(feature.encode(), digest_size=4 * _COORDINATES).digest()
    parts = (int.from_bytes(digest[4 * n : 4 * n + 4], "big") for n in range(_COORDINATES))
    return tuple((part >> 1, 1 if part & 1 else -1) for part in parts)
