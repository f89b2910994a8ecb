"""The tokenizer: loses nothing, and is near four characters a token in prose."""

from hypothesis import given
from hypothesis import strategies as st

from infra.simulator import tokens


@given(st.text(max_size=300))
def test_pieces_joined_are_the_text(text: str) -> None:
    assert "".join(tokens.pieces(text)) == text
    assert len(tokens.pieces(text)) == tokens.count(text)


def test_prose_has_about_four_characters_a_token() -> None:
    prose = "You can return any lamp within thirty days, provided that it is complete and in its original packaging."

    assert 3.5 < len(prose) / tokens.count(prose) < 5.5
