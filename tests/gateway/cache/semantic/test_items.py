"""How a question is written into a stream: small, and nothing else is taken for one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.semantic.items import decode_item, encode_item
from tests.gateway.cache.semantic.vectors import unit


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=80), st.integers(0, 10_000))
def test_a_question_comes_back_with_a_vector_that_is_nearly_its_own(text: str, seed: int) -> None:
    vector, other = unit(384, seed), unit(384, seed + 1)
    item = decode_item(encode_item(text, vector, 12.5))
    assert item is not None
    assert (item.text, item.expires_at) == (text, 12.5)
    assert item.vector.dtype == np.float32
    assert abs(float(item.vector @ other) - float(vector @ other)) < 0.01
    assert float(item.vector @ vector) == pytest.approx(1.0, abs=0.01)


def test_it_takes_little_more_than_a_byte_a_dimension() -> None:
    assert len(encode_item("How do I get my money back?", unit(384, 1), 1.0)) < 384 + 64


@given(st.binary(max_size=200))
def test_foreign_bytes_are_no_question(stored: bytes) -> None:
    assert decode_item(stored) is None


@given(st.integers(0, 440), st.integers(1, 255))
def test_a_damaged_question_is_none(place: int, change: int) -> None:
    stored = bytearray(encode_item("How do I get my money back?", unit(384, 1), 1.0))
    stored[place % len(stored)] ^= change
    assert decode_item(bytes(stored)) is None


def test_a_cut_question_is_none() -> None:
    stored = encode_item("a", unit(8, 1), 1.0)
    assert all(decode_item(stored[:length]) is None for length in range(len(stored)))


def test_a_text_that_no_encoding_holds_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_item("\ud800", unit(8, 1), 1.0)
