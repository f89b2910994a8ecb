"""Likeness to the reference: a cosine, honest about what kind of embedder it came from."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.embedding.lexical import LexicalEmbedder
from tasks.evaluators.base import Answered
from tasks.evaluators.similarity import Similarity


def lexical(texts: Sequence[str]) -> NDArray[np.float32]:
    return asyncio.run(LexicalEmbedder().embed(texts))


def test_nearer_answers_score_higher_and_a_lexical_embedder_is_called_one() -> None:
    evaluator = Similarity(lexical, LexicalEmbedder().name, lexical=True)
    reference = "The Solo plan costs nine euros a month."
    same, near, far, without = evaluator.score(
        [
            Answered("", "The Solo plan [doc:plans] costs nine euros a month.", reference=reference),
            Answered("", "Solo costs nine euros.", reference=reference),
            Answered("", "Bananas grow in bunches.", reference=reference),
            Answered("", "Anything.", reference=""),
        ]
    )
    assert same.value == pytest.approx(1.0, abs=1e-3)
    assert same.value > (near.value or 0) > (far.value or 0) >= 0
    assert "lexical" in near.reason
    assert (without.value, without.failed) == (None, False)


def test_a_negative_cosine_is_nought_and_a_trained_model_is_not_called_lexical() -> None:
    def opposite(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32)[: len(texts)]

    (score,) = Similarity(opposite, "model", lexical=False).score([Answered("", "no", reference="yes")])
    assert score.value == 0.0
    assert "lexical" not in score.reason


def test_an_embedder_that_is_down_is_the_items_error() -> None:
    def down(texts: Sequence[str]) -> NDArray[np.float32]:
        raise ConnectionError("down")

    held, without = Similarity(down, "m", lexical=False).score([Answered("", "a", reference="b"), Answered("", "a")])
    assert (held.value, held.failed, without.failed) == (None, True, False)
    assert "down" in held.reason
