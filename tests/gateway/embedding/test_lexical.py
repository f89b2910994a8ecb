"""What the lexical embedder promises: unit rows, always the same, near for near texts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.embedding.lexical import LexicalEmbedder


async def similarity(first: str, second: str) -> float:
    a, b = await LexicalEmbedder().embed([first, second])
    return float(a @ b)


@given(st.lists(st.text(max_size=80), max_size=4))
async def test_rows_are_of_unit_length_or_zero(texts: list[str]) -> None:
    rows = await LexicalEmbedder(128).embed(texts)
    assert rows.shape == (len(texts), 128)
    assert rows.dtype == np.float32
    lengths = np.linalg.norm(rows, axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))


async def test_a_row_does_not_depend_on_its_neighbours_or_the_batch() -> None:
    texts = [f"text number {n} about parcels and shoes " * 20 for n in range(50)]  # large enough for a thread
    together = await LexicalEmbedder().embed(texts)
    alone = [(await LexicalEmbedder().embed([text]))[0] for text in texts]
    assert np.array_equal(together, np.stack(alone))


async def test_the_name_stands_for_these_vectors() -> None:
    """When this fails the vectors changed: raise VERSION, else stored ones are compared with new ones."""
    embedder = LexicalEmbedder()
    assert (embedder.name, embedder.dimensions) == ("lexical-1/1024", 1024)
    row = (await embedder.embed(["How do I get my money back for two faulty lamps?"]))[0]
    strongest = sorted(np.argsort(-np.abs(row), kind="stable")[:5].tolist())
    assert strongest == [0, 58, 128, 592, 688]
    assert LexicalEmbedder(64).name != embedder.name


@pytest.mark.parametrize(
    ("question", "near", "far"),
    [
        ("How do I get my money back?", "Refunds are paid within 7 days.", "The lamp is dimmed in the app."),
        ("cancel my subscrption", "How to cancel a subscription", "How to pay an invoice"),
        ("Where's my parcel?", "Your package is tracked by the courier.", "Passwords are reset by email."),
        ("is there a warrenty", "The warranty covers two years.", "There is a shop in Berlin."),
        ("will it arrive abroad", "International parcels", "It will rain"),
    ],
)
async def test_near_texts_are_nearer(question: str, near: str, far: str) -> None:
    assert await similarity(question, near) > await similarity(question, far) + 0.05


def test_too_few_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="16"):
        LexicalEmbedder(8)
