"""Vectors: unit length, deterministic, and nearer for texts that mean the same."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.simulator.embedding import dimensions_of, embed


def _cosine(first: str, second: str) -> float:
    return sum(a * b for a, b in zip(embed(first, 1536), embed(second, 1536), strict=True))


@given(st.text(max_size=200), st.sampled_from([64, 256, 1536]))
@settings(max_examples=60, deadline=None)
def test_every_text_has_a_unit_vector(text: str, dimensions: int) -> None:
    vector = embed(text, dimensions)

    assert len(vector) == dimensions
    assert math.isclose(math.fsum(v * v for v in vector), 1.0, abs_tol=1e-4)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("How do I get my money back?", "What is your refund policy?", "Which countries do you ship to?"),
        ("delivery times", "How long does shipping take?", "How do I reset my password?"),
        ("cancel my subscription", "How can I terminate my plan?", "Is the lamp waterproof?"),
        ("Where is the warranty explained?", "where is the waranty explaned", "Where is the shop located?"),
    ],
)
def test_similar_texts_are_nearer(text: str, near: str, far: str) -> None:
    assert _cosine(text, near) > _cosine(text, far) + 0.2


def test_the_length_follows_the_model() -> None:
    assert (dimensions_of("text-embedding-3-large"), dimensions_of("text-embedding-3-small")) == (3072, 1536)
