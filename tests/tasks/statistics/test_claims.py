"""What may be said of two arms, at every look, and how often it is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.statistics.blocks import Block, UserEvidence
from tasks.statistics.claims import Claim, block_values, compare
from tasks.statistics.power import draw_users


def values(difference: float, count: int, seed: int = 3) -> np.ndarray:
    """Block values of arms around 0.8 that differ so much."""
    rng = np.random.default_rng(seed)
    arm = draw_users(rng, 0.8 + difference, 0.2, (count,))
    baseline = draw_users(rng, 0.8, 0.2, (count,))
    return (arm - baseline + 1.0) / 2.0


@pytest.mark.parametrize(
    ("difference", "claim"), [(0.1, Claim.BETTER), (-0.1, Claim.WORSE), (0.0, Claim.NOT_YET)], ids=lambda v: str(v)
)
def test_a_difference_is_found_and_bounded(difference: float, claim: Claim) -> None:
    found = compare(values(difference, 500), alpha=0.05, tests=2)
    assert found.claim is claim
    assert found.difference is not None
    assert found.lower < found.difference < found.upper
    assert found.lower <= difference <= found.upper
    assert found.upper - found.lower < 0.2


def test_equal_arms_are_hardly_ever_told_apart_however_often_one_looks() -> None:
    """α is 0.1 here, at every one of 400 looks; a test at each of them would nearly always alarm."""
    told = [compare(values(0.0, 400, seed), alpha=0.1, tests=2).claim is not Claim.NOT_YET for seed in range(60)]
    assert sum(told) <= 6


def test_the_interval_holds_the_truth() -> None:
    found = [compare(values(0.05, 200, seed), alpha=0.1, tests=2) for seed in range(40)]
    assert sum(not one.lower <= 0.05 <= one.upper for one in found) <= 6


def test_a_claim_stays_when_later_data_point_elsewhere() -> None:
    turned = np.concatenate([values(0.2, 200), values(-0.3, 500)])
    assert compare(turned, alpha=0.05, tests=2).claim is Claim.BETTER


def test_more_statements_need_more_evidence() -> None:
    few, many = (compare(values(0.04, 300), alpha=0.05, tests=tests) for tests in (2, 20))
    assert few.log_threshold < many.log_threshold
    assert many.lower <= few.lower
    assert many.upper >= few.upper


def test_nothing_is_said_from_nothing() -> None:
    found = compare(np.empty(0), alpha=0.05, tests=2)
    assert (found.claim, found.lower, found.upper) == (Claim.NOT_YET, -1.0, 1.0)
    assert found.in_words("b", "a") == "b beside a: no complete block of users yet"


def test_a_block_without_the_metric_on_a_side_is_left_out() -> None:
    def block(index: int, arm: float | None, baseline: float | None) -> Block:
        stable = (UserEvidence(f"s{index}", "stable", 0.0, {"quality": baseline}),)
        return Block(index, UserEvidence(f"c{index}", "canary", 0.0, {"quality": arm}), stable, 1)

    blocks = [block(0, 1.0, 0.5), block(1, None, 0.5), block(2, 0.0, None), block(3, 0.5, 0.5)]
    assert block_values(blocks, "quality").tolist() == [0.75, 0.5]
