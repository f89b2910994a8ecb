"""No text is lost, no chunk is too large, and cuts fall where a reader would cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.retrieval.chunking import chunk

texts = st.one_of(
    st.text(max_size=400),
    st.lists(
        st.sampled_from(["word", "a.", "\n", "\n\n", "\r\n", " ", "# Head\n\n", "x" * 90, "。", "?", "- item\n"])
    ).map("".join),
)


def ink(text: str) -> str:
    return "".join(text.split())


@given(texts, st.integers(1, 12), st.integers(1, 80))
def test_nothing_is_lost_and_every_chunk_fits(text: str, max_words: int, max_characters: int) -> None:
    chunks = chunk(text, max_words, max_characters)
    assert ink("".join(chunks)) == ink(text)
    assert all(len(c.split()) <= max_words and len(c) <= max_characters for c in chunks)
    assert all(c.strip() == c for c in chunks) or max_characters < 80
    assert all(ink(c) for c in chunks) or not ink(text)


@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8), max_size=60))
def test_no_word_is_cut_that_fits(words: list[str]) -> None:
    assert " ".join(chunk(" ".join(words), 5, 40)).split() == " ".join(words).split()


def test_a_text_that_fits_stays_as_it_is() -> None:
    text = "# Title\n\nOne line\nand another.\n\n- a list\n- of two"
    assert chunk(f"\n{text}\n\n") == (text,)


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("", ()),
        (" \n\t\r\n", ()),
        ("one two three\n\nfour five six", ("one two three", "four five six")),
        ("one\n\ntwo\n\nthree four five", ("one\n\ntwo", "three four five")),
        ("one two three\n\n## Head\n\nfour", ("one two three", "## Head\n\nfour")),
        ("one\n\n## Head", ("one\n\n## Head",)),
        ("- a b c\n- d e", ("- a b c", "- d e")),
        ("One two. Three four five. Six.", ("One two.", "Three four five. Six.")),
        ("a b c d e f", ("a b c d", "e f")),
        ("x" * 50, ("x" * 40, "x" * 10)),
    ],
)
def test_where_it_cuts(text: str, chunks: tuple[str, ...]) -> None:
    assert chunk(text, 4, 40) == chunks


@pytest.mark.parametrize("text", ["a " * 500_000, "a\n\n" * 333_333, "x" * 1_000_000, "a. " * 333_333, " \n" * 500_000])
def test_a_megabyte_of_anything_is_cut_at_once(text: str) -> None:
    assert ink("".join(chunk(text))) == ink(text)


def test_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        chunk("a", 0)
