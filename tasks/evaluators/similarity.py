"""How near an answer is to the reference: the cosine of their embeddings, 0 where it is negative."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.evaluators.assertions import CITATION
from tasks.evaluators.base import Answered, Score

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to rows of unit length, or of zeros for a text without any feature. Raises on failure."""


class Similarity:
    """An Evaluator. ``embedder`` names the model; a lexical one compares words, not meaning, and the reason says so."""

    def __init__(self, embed: Embed, embedder: str, *, lexical: bool, name: str = "similarity") -> None:
        self._embed = embed
        self._embedder = embedder
        self._lexical = lexical
        self.name = name

    @property
    def version(self) -> str:
        return self._embedder

    def score(self, answers: Sequence[Answered]) -> list[Score]:
        """Answers without a reference, or without a word, have nothing to be compared."""
        held = [one for one in answers if one.reference.strip()]
        texts = list(dict.fromkeys(text for one in held for text in (_plain(one.answer), one.reference)))
        if not texts:
            return [_NO_REFERENCE] * len(answers)
        try:
            vectors = self._embed(texts)
        except Exception as error:  # a remote model may fail in any way; the items then say so
            failed = Score(None, f"could not be embedded: {error}", failed=True)
            return [failed if one.reference.strip() else _NO_REFERENCE for one in answers]
        rows = dict(zip(texts, vectors, strict=True))
        return [self._one(one, rows) if one.reference.strip() else _NO_REFERENCE for one in answers]

    def _one(self, one: Answered, rows: dict[str, NDArray[np.float32]]) -> Score:
        cosine = float(rows[_plain(one.answer)] @ rows[one.reference])
        kind = "shares words with the reference (lexical)" if self._lexical else "is near the reference in meaning"
        return Score(min(1.0, max(0.0, cosine)), f"{kind}: cosine {cosine:.2f} by {self._embedder}")


_NO_REFERENCE = Score(None, "there is no reference to compare with")


def _plain(answer: str) -> str:
    return " ".join(CITATION.sub(" ", answer).split())
