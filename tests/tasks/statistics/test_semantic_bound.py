"""The bound that lets a scope serve: its formula, its validity at every look, its power, and its watch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.statistics.semantic_bound import (
    ProofPair,
    ScopeState,
    attempt_alpha,
    log_over,
    log_under,
    prove,
)

QUICK = settings(max_examples=50, deadline=None)
MAX_WRONG = 0.03
RIGHT, WRONG = ProofPair(False), ProofPair(True)


def test_one_step_by_hand() -> None:
    """m = 0.1: a right pair multiplies a bet θ by 1 + θ/9, a wrong one by 1 − θ; shares and stakes as in the module."""
    stakes, shares = [1.0, 0.9, 0.75, 0.6, 0.45, 0.3, 0.15], [0.28] + [0.12] * 6
    one = np.ones(1)
    right = sum(share * (1 + stake / 9) for share, stake in zip(shares, stakes, strict=True))
    wrong = sum(share * (1 - stake) for share, stake in zip(shares, stakes, strict=True))
    assert log_under(np.zeros(1), one, 0.1)[0] == pytest.approx(math.log(right))
    assert log_under(np.ones(1), one, 0.1)[0] == pytest.approx(math.log(wrong))


@pytest.mark.parametrize("boundary", [0.01, 0.03, 0.2])
@pytest.mark.parametrize("ratio", [1.0, 0.25])
def test_the_bets_are_fair_at_the_boundary(boundary: float, ratio: float) -> None:
    """At a wrong rate of m the expected factor of the first step is 1, of each E; with ratio f/p, p of them judged."""
    weights = np.full(1, ratio)
    for evidence in (log_under, log_over):
        factors = [math.exp(evidence(np.array([wrong]), weights, boundary)[0]) for wrong in (0.0, 1.0)]
        assert (1 - boundary) * factors[0] + boundary * factors[1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("pairs", "state"),
    [
        ([], ScopeState.LOOKING),
        ([RIGHT] * 100, ScopeState.LOOKING),
        ([RIGHT] * 150, ScopeState.SERVING),
        ([WRONG] * 5 + [RIGHT] * 150, ScopeState.LOOKING),
        ([RIGHT] * 300 + [WRONG] * 2, ScopeState.SERVING),
        ([RIGHT] * 300 + [WRONG] * 8, ScopeState.DEMOTED),
        ([RIGHT] * 300 + [WRONG] * 8 + [RIGHT] * 1000, ScopeState.DEMOTED),  # for good: a new attempt must earn anew
        ([RIGHT] * 10_000 + [WRONG, RIGHT, RIGHT] * 10, ScopeState.DEMOTED),  # a long good past does not hide it
    ],
)
def test_states(pairs: list[ProofPair], state: ScopeState) -> None:
    proof = prove(pairs, max_wrong=MAX_WRONG)
    assert proof.state is state
    assert (proof.pairs, proof.wrong) == (len(pairs), sum(pair.wrong for pair in pairs))
    assert (proof.served_from is None) == (state is ScopeState.LOOKING)
    assert (proof.demoted_from is not None) == (state is ScopeState.DEMOTED)


def test_serving_is_the_same_as_an_upper_bound_below_max_wrong() -> None:
    entropy = np.random.default_rng(3)
    seen = set()
    for count in (50, 140, 160, 400, 800):
        pairs = [ProofPair(bool(one)) for one in entropy.random(count) < 0.008]
        proof = prove(pairs, max_wrong=MAX_WRONG)
        seen.add(proof.served_from is not None)
        assert (proof.served_from is not None) == (proof.upper <= MAX_WRONG + 1e-5)
        assert proof.lower <= proof.rate <= 1.0
    assert seen == {True, False}


def test_an_attempt_costs_a_share_of_alpha_and_all_shares_together_are_alpha() -> None:
    shares = [attempt_alpha(0.05, attempt) for attempt in range(1, 100_000)]
    assert shares == sorted(shares, reverse=True)
    assert 0.049 < sum(shares) < 0.05
    pairs = [RIGHT] * 160
    assert prove(pairs, max_wrong=MAX_WRONG, attempt=1).state is ScopeState.SERVING
    assert prove(pairs, max_wrong=MAX_WRONG, attempt=5).state is ScopeState.LOOKING


def test_scopes_just_above_max_wrong_hardly_ever_serve() -> None:
    """500 scopes, 3.1 % wrong, looked at after each of 2,000 pairs; a repeated Clopper–Pearson lets many more pass."""
    entropy = np.random.default_rng(500)
    level = math.log(1.0 / 0.05)
    wrong = entropy.random((500, 2000)) < 0.031
    ever = sum(bool((log_under(row.astype(float), np.ones(2000), MAX_WRONG) >= level).any()) for row in wrong)
    assert 0 < ever <= 25


def test_pairs_judged_with_different_probabilities_do_not_let_a_bad_scope_serve() -> None:
    """6 % wrong, and the wrong ones are judged five times less often: without weights it would look like 1.3 %."""
    entropy = np.random.default_rng(5)
    level = math.log(1.0 / 0.05)
    weighted = unweighted = 0
    for _ in range(100):
        wrong = entropy.random(3000) < 0.06
        chance = np.where(wrong, 0.2, 1.0)
        judged = entropy.random(3000) < chance
        seen = wrong[judged].astype(float)
        ratio = np.array([ProofPair(False, float(one), least=0.2).ratio for one in chance[judged]])
        weighted += bool((log_under(seen, ratio, MAX_WRONG) >= level).any())
        unweighted += bool((log_under(seen, np.ones(seen.size), MAX_WRONG) >= level).any())
    assert unweighted > 80
    assert weighted <= 5


@pytest.mark.parametrize(("rate", "within"), [(0.0, 149), (0.005, 700), (0.01, 1500)])
def test_a_good_scope_serves_soon(rate: float, within: int) -> None:
    entropy = np.random.default_rng(7)
    served = 0
    for _ in range(40):
        wrong = (entropy.random(within) < rate).astype(float)
        served += bool((log_under(wrong, np.ones(within), MAX_WRONG) >= math.log(1.0 / attempt_alpha(0.05, 1))).any())
    assert served >= 36


def test_a_good_scope_is_hardly_ever_demoted_and_a_bad_one_soon() -> None:
    entropy = np.random.default_rng(11)
    good = bad = 0
    for _ in range(40):
        later = [ProofPair(bool(one)) for one in entropy.random(1000) < 0.01]
        good += prove([RIGHT] * 200 + later, max_wrong=MAX_WRONG).state is ScopeState.DEMOTED
        worse = [ProofPair(bool(one)) for one in entropy.random(250) < 0.12]
        bad += prove([RIGHT] * 200 + worse, max_wrong=MAX_WRONG).state is ScopeState.DEMOTED
    assert good <= 3
    assert bad >= 38


@QUICK
@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_one_more_wrong_pair_never_helps(seen: list[bool]) -> None:
    wrong = np.array(seen, dtype=float)
    better, worse = np.append(wrong, 0.0), np.append(wrong, 1.0)
    ones = np.ones(len(worse))
    assert log_under(worse, ones, 0.1)[-1] <= log_under(better, ones, 0.1)[-1]
    assert log_over(worse, ones, 0.1)[-1] >= log_over(better, ones, 0.1)[-1]


@QUICK
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.2, 0.5, 1.0])), min_size=1, max_size=40))
def test_bounds_are_ordered_and_only_tighten(seen: list[tuple[bool, float]]) -> None:
    pairs = [ProofPair(wrong, probability=chance, least=0.2) for wrong, chance in seen]
    before = prove(pairs[:-1], max_wrong=MAX_WRONG)
    after = prove(pairs, max_wrong=MAX_WRONG)
    assert 0.0 <= after.lower <= 1.0
    assert 0.0 <= after.upper <= 1.0
    assert after.upper <= before.upper
    assert after.lower >= before.lower


@pytest.mark.parametrize(
    "arguments",
    [{"max_wrong": 0.0}, {"max_wrong": 1.0}, {"max_wrong": 0.1, "alpha": 0.0}, {"max_wrong": 0.1, "attempt": 0}],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must lie|counted"):
        prove([RIGHT], **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("probability", "least"), [(0.0, 0.0), (1.5, 0.0), (0.2, 0.5)])
def test_impossible_probabilities_are_refused(probability: float, least: float) -> None:
    with pytest.raises(ValueError, match="least"):
        ProofPair(False, probability, least)
