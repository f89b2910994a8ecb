"""The score: the neighbours' votes, and what two answers have in common."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cache.semantic.score import Features, Neighbour, agreement, features, fingerprint, score

QUICK = settings(max_examples=100, deadline=None)

RETURNS = fingerprint("You can return shoes within 30 days of delivery.")
SHIPPING = fingerprint("Orders above 50 euros ship free of charge within the country.")

NEIGHBOURS = st.lists(
    st.builds(Neighbour, st.floats(-1.0, 1.0), st.sampled_from([0, RETURNS, SHIPPING])), min_size=1, max_size=10
)


def near(*seen: tuple[float, int]) -> list[Neighbour]:
    return [Neighbour(similarity, answer) for similarity, answer in seen]


@pytest.mark.parametrize(
    ("seen", "support"),
    [
        ([(0.9, RETURNS)], 1.0),
        ([(0.9, RETURNS), (0.9, RETURNS), (0.8, RETURNS)], 1.0),
        ([(0.9, RETURNS), (0.9, SHIPPING)], 0.5),
        ([(0.9, RETURNS), (0.9, SHIPPING), (0.9, SHIPPING), (0.9, RETURNS)], 0.5),
        ([(0.9, RETURNS), (0.85, SHIPPING)], 1 / (1 + 2.718281828**-1)),
        ([(0.9, RETURNS), (0.4, SHIPPING)], 1.0),
        ([(0.9, RETURNS), (0.9, 0)], 1.0),  # an answer that is not known does not vote
        ([(0.9, 0), (0.9, SHIPPING)], 1.0),  # and nobody votes on one
    ],
)
def test_the_share_of_the_votes(seen: list[tuple[float, int]], support: float) -> None:
    neighbours = near(*seen)
    found = features(neighbours[0], neighbours)
    assert found.similarity == 0.9
    assert found.support == pytest.approx(support, abs=1e-3)


def test_a_guarded_neighbour_still_votes_against_a_farther_one() -> None:
    neighbours = near((0.95, SHIPPING), (0.9, RETURNS))
    assert features(neighbours[1], neighbours).support < 0.3


@pytest.mark.parametrize(("support", "expected"), [(1.0, 0.8), (0.5, 0.55), (0.0, 0.3)])
def test_doubt_is_taken_off_the_similarity(support: float, expected: float) -> None:
    assert score(Features(0.8, support)) == pytest.approx(expected)


@QUICK
@given(NEIGHBOURS)
def test_support_is_a_share_and_the_score_at_most_the_similarity(neighbours: list[Neighbour]) -> None:
    for chosen in neighbours:
        found = features(chosen, neighbours)
        assert 0.0 <= found.support <= 1.0 + 1e-9
        assert score(found) <= chosen.similarity + 1e-9


@QUICK
@given(NEIGHBOURS, st.floats(-1.0, 1.0))
def test_one_more_neighbour_with_the_same_answer_never_lowers_the_support(
    neighbours: list[Neighbour], similarity: float
) -> None:
    chosen = Neighbour(0.9, RETURNS)
    before = features(chosen, [chosen, *neighbours]).support
    assert features(chosen, [chosen, *neighbours, Neighbour(similarity, RETURNS)]).support >= before - 1e-9


def test_answers_with_the_same_words_agree_and_others_do_not() -> None:
    reworded = fingerprint("Shoes may be returned within 30 days after their delivery.")
    assert agreement(RETURNS, reworded) > 0.7
    assert agreement(RETURNS, SHIPPING) < 0.2
    assert agreement(RETURNS, RETURNS) == 1.0


@QUICK
@given(st.text(max_size=80))
def test_a_fingerprint_has_64_bits_is_repeatable_and_never_zero(answer: str) -> None:
    found = fingerprint(answer)
    assert 0 < found < 2**64
    assert fingerprint(answer) == found
