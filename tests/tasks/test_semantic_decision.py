"""When a scope may serve: pure, over streams of judged pairs whose truth is known."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.semantic_decision import PATIENCE, Pair, Standing, State, decide, proving, still_needed

MAX_WRONG, PRECISION = 0.03, 0.98


def stream(count: int, wrong: float, *, begin: float = 0.0, seed: int = 1, similarity: float = 0.95) -> list[Pair]:
    """One judged pair a second, a second after it was asked."""
    draw = random.Random(seed)
    return [
        Pair(similarity, draw.random() >= wrong, 0.2, begin + second, begin + second + 1.0) for second in range(count)
    ]


def run(pairs: list[Pair], *, every: int = 20, known: Standing | None = None) -> list[Standing]:
    """The standings after each look."""
    standing, seen = known or Standing(), []
    for end in range(every, len(pairs) + every, every):
        now = pairs[min(end, len(pairs)) - 1].judged_at
        standing = decide(standing, pairs[:end], max_wrong=MAX_WRONG, precision=PRECISION, now=now)
        seen.append(standing)
    return seen


def test_a_good_scope_collects_proves_and_serves() -> None:
    states = [one.state for one in run(stream(600, wrong=0.0))]
    assert states[0] is State.COLLECTING
    assert State.PROVING in states
    assert states[-1] is State.SERVING
    order = [State.COLLECTING, State.PROVING, State.SERVING]
    assert [order.index(state) for state in states] == sorted(order.index(state) for state in states)


def test_what_fits_a_threshold_does_not_prove_it() -> None:
    looks = run(stream(600, wrong=0.0))
    first = next(one for one in looks if one.state is State.PROVING)
    assert first.pairs == 0
    assert first.fit_pairs > 0
    last = looks[-1]
    assert last.pairs <= 600 - first.fit_pairs


@given(st.integers(0, 300), st.floats(-5, 5))
def test_pairs_of_before_or_of_a_clock_that_is_off_prove_nothing(second: int, off: float) -> None:
    known = Standing(state=State.PROVING, attempt=1, threshold=0.9, since=100.0, fit_pairs=100)
    pair = Pair(0.95, True, 0.2, second + off, second + 1.0)
    proves = bool(proving(known, [pair]))
    assert not proves or (pair.at > 100.0 and pair.judged_at > 100.0)


def test_a_bad_scope_never_serves() -> None:
    assert all(one.state is not State.SERVING for seed in range(5) for one in run(stream(600, 0.15, seed=seed)))


def test_a_scope_that_was_good_is_demoted_when_later_samples_break_the_bound() -> None:
    good = stream(500, wrong=0.0)
    served = run(good)[-1]
    assert served.state is State.SERVING
    worse = good + stream(200, wrong=0.4, begin=500.0)
    states = [one.state for one in run(worse, known=served)]
    assert State.DEMOTED in states or State.PROVING in states
    assert states[-1] is not State.SERVING


def test_after_a_demotion_the_next_threshold_has_a_smaller_share_of_the_error() -> None:
    known = Standing(state=State.SERVING, attempt=1, threshold=0.9, since=0.0, fit_pairs=100)
    good_above = stream(400, wrong=0.0, begin=1.0, similarity=0.99)
    bad_below = stream(120, wrong=0.5, begin=500.0, similarity=0.91)
    pairs = good_above + bad_below
    found = decide(known, pairs, max_wrong=MAX_WRONG, precision=PRECISION, now=pairs[-1].judged_at)
    assert (found.state, found.attempt, found.pairs) == (State.PROVING, 2, 0)
    assert found.threshold == pytest.approx(0.99)


def test_a_threshold_that_is_never_proved_makes_room_for_a_stricter_one() -> None:
    known = Standing(state=State.PROVING, attempt=1, threshold=0.9, since=0.0, fit_pairs=50)
    mixed = [
        one if place % 10 else replace(one, similarity=0.91, correct=place % 20 != 0)
        for place, one in enumerate(stream(PATIENCE + 10, wrong=0.0, begin=1.0, similarity=0.99))
    ]
    found = decide(known, mixed, max_wrong=MAX_WRONG, precision=PRECISION, now=mixed[-1].judged_at)
    assert found.attempt in (1, 2)
    if found.attempt == 2:
        assert found.threshold is not None
        assert found.threshold > 0.9


def test_pairs_below_the_threshold_do_not_count() -> None:
    known = Standing(state=State.PROVING, attempt=1, threshold=0.9, since=0.0, fit_pairs=50)
    below = stream(300, wrong=1.0, begin=1.0, similarity=0.89)
    found = decide(known, below, max_wrong=MAX_WRONG, precision=PRECISION, now=400.0)
    assert (found.state, found.pairs) == (State.PROVING, 0)


def test_how_many_are_needed_is_what_it_takes() -> None:
    known = Standing(state=State.PROVING, attempt=1, threshold=0.9, since=0.0, fit_pairs=50)
    so_far = stream(40, wrong=0.0, begin=1.0)
    needed = still_needed(known, so_far, MAX_WRONG)
    assert needed is not None

    def after(more: int) -> State:
        pairs = so_far + stream(more, wrong=0.0, begin=100.0)
        return decide(known, pairs, max_wrong=MAX_WRONG, precision=PRECISION, now=10_000.0).state

    assert after(needed) is State.SERVING
    assert after(needed - 1) is State.PROVING
    assert still_needed(Standing(), [], MAX_WRONG) is None
    assert still_needed(replace(known, state=State.SERVING), [], MAX_WRONG) == 0
