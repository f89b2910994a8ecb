"""What mirrored calls decide, by table; and how often a candidate that is as good is refused."""

import math

import numpy as np
import pytest

from tasks.statistics.mirror import MirrorOutcome, MirrorPolicy, decide_mirror
from tasks.statistics.paired_signs import PairedRule, log_e_path, weigh_pairs

FAILURE = PairedRule("failure", lower_is_better=True)
LATENCY = PairedRule("latency", lower_is_better=True, ratio=2.0)
REPORTED = PairedRule("cost", lower_is_better=True, ratio=2.0, decides=False)
POLICY = MirrorPolicy((FAILURE, LATENCY, REPORTED), alpha=0.05, needed=20, max_duration=3600)

EQUAL, FELL = (0.0, 0.0), (1.0, 0.0)
FINE, SLOW = (100.0, 100.0), (300.0, 100.0)


@pytest.mark.parametrize(
    ("failures", "latencies", "pairs", "elapsed", "outcome"),
    [
        ([], [], 0, 0.0, MirrorOutcome.HOLD),
        ([EQUAL] * 19, [FINE] * 19, 19, 3599.0, MirrorOutcome.HOLD),
        ([EQUAL] * 20, [FINE] * 20, 20, 10.0, MirrorOutcome.GO_ON),
        ([EQUAL] * 20, [], 20, 9999.0, MirrorOutcome.GO_ON),
        ([EQUAL] * 19, [FINE] * 19, 19, 3600.0, MirrorOutcome.INCONCLUSIVE),
        ([], [], 0, 3600.0, MirrorOutcome.INCONCLUSIVE),
        ([FELL] * 7, [], 7, 10.0, MirrorOutcome.HOLD),
        ([FELL] * 8, [], 8, 10.0, MirrorOutcome.REFUSE),
        ([FELL] * 8 + [EQUAL] * 12, [FINE] * 12, 20, 9999.0, MirrorOutcome.REFUSE),
        ([EQUAL] * 20, [SLOW] * 8, 20, 10.0, MirrorOutcome.REFUSE),
        ([(0.0, 1.0)] * 20, [(100.0, 300.0)] * 20, 20, 10.0, MirrorOutcome.GO_ON),
        ([FELL, (0.0, 1.0)] * 10, [FINE] * 20, 20, 10.0, MirrorOutcome.GO_ON),
    ],
)
def test_what_follows_from_pairs(
    failures: list[tuple[float, float]],
    latencies: list[tuple[float, float]],
    pairs: int,
    elapsed: float,
    outcome: MirrorOutcome,
) -> None:
    values = {"failure": failures, "latency": latencies, "cost": [(9.0, 1.0)] * pairs}
    decision = decide_mirror(values, POLICY, pairs=pairs, elapsed=elapsed)
    assert decision.outcome is outcome
    assert decision.reasons
    cost = decision.metrics[-1]
    assert (cost.worse, cost.losses) == (False, pairs), "what does not decide is reported"


def test_reasons_name_the_metric_and_its_numbers() -> None:
    decision = decide_mirror({"failure": [FELL] * 8 + [EQUAL] * 2}, POLICY, pairs=10, elapsed=1.0)
    (reason,) = decision.reasons
    assert "failure: the candidate lost 8 and won 0 of 10 pairs (0.8 against 0; E = 56.8, decided at 40)" in reason
    told = decision.to_json()
    assert (told["outcome"], told["metrics"][0]["losses"]) == ("refuse", 8)


@pytest.mark.parametrize(("share_beyond", "worse"), [(0.4, False), (0.6, True)])
def test_what_is_usually_within_the_ratio_refuses_nobody(share_beyond: float, worse: bool) -> None:
    beyond = round(100 * share_beyond)
    found = weigh_pairs(LATENCY, [SLOW] * beyond + [FINE] * (100 - beyond), level=0.05)
    assert found.log_e_max > found.log_threshold
    assert found.worse is worse


@pytest.mark.parametrize(("fall", "worse"), [(0.05, False), (0.2, True)])
def test_a_fall_within_the_tolerance_refuses_nobody_however_sure(fall: float, worse: bool) -> None:
    rule = PairedRule("assertions", tolerance=0.1)
    found = weigh_pairs(rule, [(0.9 - fall, 0.9)] * 50, level=0.05)
    assert found.log_e_max > found.log_threshold
    assert found.worse is worse


@pytest.mark.parametrize(
    ("rule", "candidate", "stable", "sign"),
    [
        (PairedRule("score"), 0.8, 0.7, 1),
        (PairedRule("score"), 0.7, 0.8, -1),
        (PairedRule("score"), 0.7, 0.7, 0),
        (FAILURE, 1.0, 0.0, -1),
        (LATENCY, 199.0, 100.0, 0),
        (LATENCY, 201.0, 100.0, -1),
        (LATENCY, 100.0, 201.0, 1),
        (LATENCY, 0.0, 0.0, 0),
        (LATENCY, 1.0, 0.0, -1),
    ],
)
def test_a_pair_is_a_win_a_loss_or_a_tie(rule: PairedRule, candidate: float, stable: float, sign: int) -> None:
    assert rule.sign(candidate, stable) == sign


def test_e_is_the_mixed_likelihood_ratio() -> None:
    """Against the integral by hand, on a fine grid of θ."""
    theta = np.linspace(0.5, 1.0, 200_001)
    for losses, wins in ((0, 0), (1, 0), (9, 0), (3, 5), (40, 12), (2, 60)):
        signs = np.array([-1] * losses + [1] * wins + [0, 0])
        ratio = 2 * np.exp(losses * np.log(2 * theta) + wins * np.log(np.maximum(2 * (1 - theta), 1e-300)))
        expected = float(np.trapezoid(ratio, theta))
        assert math.exp(log_e_path(signs)[-1]) == pytest.approx(expected, rel=1e-4)


def test_very_many_wins_stay_finite() -> None:
    path = log_e_path(np.ones(5_000))
    assert np.isfinite(path).all()
    assert path[-1] < -100


def test_a_candidate_that_is_as_good_is_refused_at_most_as_often_as_promised() -> None:
    """Looked at after every pair; and one that fails every fifth time is mostly caught."""
    dice = np.random.default_rng(11)
    even = np.where(dice.random((2_000, 500)) < 0.5, -1, 1)
    assert (log_e_path(even).max(axis=1) >= math.log(1 / 0.05)).mean() <= 0.05
    falls = dice.random((2_000, 50)) < 0.2
    caught = (log_e_path(-falls.astype(int)).max(axis=1) >= math.log(2 / 0.05)).mean()
    assert caught > 0.7


def test_a_policy_that_can_refuse_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="deciding metric"):
        MirrorPolicy((REPORTED,), alpha=0.05, needed=20, max_duration=1.0)
