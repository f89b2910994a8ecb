"""The canary's decision by table, then on simulated releases through the real block and decision code."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.releases.differing import unequal
from tasks.statistics.blocks import Block, BlockPlan, UserEvidence, form_blocks
from tasks.statistics.canary import CanaryDecision, CanaryOutcome, CanaryPolicy, RunningCanary, decide
from tasks.statistics.guardrails import Guardrail
from tasks.statistics.power import draw_users
from tasks.statistics.sample_ratio import StepArrivals

QUICK = settings(max_examples=40, deadline=None)
SCORES = st.one_of(st.none(), st.floats(0, 1), st.sampled_from([0.0, 1.0]))
VALUES = st.tuples(SCORES, SCORES)

SCORE = Guardrail("score", margin=0.1)
FAILED = Guardrail("failed", margin=0.1, lower_is_better=True, expected_mean=0.01, expected_sd=None)
BOTH = CanaryPolicy(guardrails=(SCORE, FAILED), max_duration=1_000.0)


def block(index: int, canary: dict[str, float | None], stable: Sequence[dict[str, float | None]]) -> Block:
    users = tuple(UserEvidence(f"s{index}-{i}", "stable", float(index), metrics) for i, metrics in enumerate(stable))
    return Block(index, UserEvidence(f"c{index}", "canary", float(index), canary), users, len(users))


def same(count: int, canary: dict[str, float | None], stable: dict[str, float | None]) -> list[Block]:
    return [block(index, canary, [stable]) for index in range(count)]


def at(now: float, blocks: Sequence[Block], policy: CanaryPolicy = BOTH, **more: object) -> CanaryDecision:
    return decide(blocks, policy, started_at=0.0, now=now, **more)  # type: ignore[arg-type]


GOOD: dict[str, float | None] = {"score": 0.9, "failed": 0.0}
BAD: dict[str, float | None] = {"score": 0.4, "failed": 0.0}
BROKEN: dict[str, float | None] = {"score": 0.9, "failed": 1.0}
SILENT: dict[str, float | None] = {"score": None, "failed": 0.0}
SILENT_BROKEN: dict[str, float | None] = {"score": None, "failed": 1.0}


@pytest.mark.parametrize(
    ("blocks", "now", "arrivals", "outcome", "words"),
    [
        pytest.param([], 10, [], "hold", "score: no complete block yet", id="nothing yet"),
        pytest.param(same(10, GOOD, GOOD), 10, [], "hold", "not yet shown to be within 0.1", id="too early"),
        pytest.param(same(200, GOOD, GOOD), 10, [], "promote", "failed 0.000 on canary, 0.000 on stable", id="equal"),
        pytest.param(same(40, BAD, GOOD), 10, [], "roll_back", "score 0.400 on canary, 0.900 on stable", id="scores"),
        pytest.param(same(40, BROKEN, GOOD), 10, [], "roll_back", "failed 1.000 on canary", id="failures"),
        pytest.param(same(40, GOOD, BROKEN), 10, [], "hold", "score", id="fewer failures are no harm"),
        pytest.param([], 1_000, [], "inconclusive", "time is up", id="no data at the end"),
        pytest.param(same(40, BAD, GOOD), 2_000, [], "roll_back", "canary is worse", id="harm counts after the end"),
        pytest.param(same(99, SILENT, GOOD), 10, [], "inconclusive", "score is missing unequally: 99", id="missing"),
        pytest.param(same(99, SILENT_BROKEN, GOOD), 10, [], "roll_back", "failed 1.000", id="missing, other harm"),
        pytest.param(same(99, SILENT, SILENT), 10, [], "hold", "score: no complete block", id="missing equally"),
        pytest.param(
            same(200, BAD, GOOD),
            10,
            [StepArrivals(500, 500, 0.1)],
            "inconclusive",
            "500 of 1000 users saw the canary, 100 were expected",
            id="a wrong split beats everything",
        ),
        pytest.param(same(200, GOOD, GOOD), 10, [StepArrivals(900, 100, 0.1)], "promote", "E = ", id="a right split"),
    ],
)
def test_decisions(blocks: list[Block], now: float, arrivals: list[StepArrivals], outcome: str, words: str) -> None:
    decision = at(now, blocks, arrivals=arrivals)
    assert decision.outcome == outcome
    assert words in " | ".join(decision.reasons)
    assert json.loads(json.dumps(decision.to_json(), allow_nan=False))["outcome"] == outcome


@QUICK
@given(st.lists(VALUES, max_size=60), st.lists(st.integers(0, 20), max_size=8))
def test_looking_after_each_block_comes_to_what_one_look_at_all_comes_to(
    values: list[tuple[float | None, float | None]], sizes: list[int]
) -> None:
    blocks = [
        block(index, {"score": canary, "failed": 0.0}, [{"score": stable, "failed": 0.0}])
        for index, (canary, stable) in enumerate(values)
    ]
    one_by_one, in_parts = RunningCanary(BOTH), RunningCanary(BOTH)
    outcomes = []
    for one in blocks:
        one_by_one.add([one])
        outcomes.append(one_by_one.decide(started_at=0.0, now=10.0).outcome)
    rest = list(blocks)
    for size in [*sizes, len(rest)]:
        in_parts.add(rest[:size])
        del rest[:size]
    whole = at(10, blocks)
    for running in (one_by_one, in_parts):
        said = running.decide(started_at=0.0, now=10.0)
        assert said.outcome is whole.outcome
        assert unequal(whole.to_json()["guardrails"], said.to_json()["guardrails"]) == ""
    assert (CanaryOutcome.ROLL_BACK in outcomes) <= (whole.outcome is not CanaryOutcome.HOLD)


def test_evidence_names_means_on_the_metrics_own_scale_and_thresholds() -> None:
    decision = at(10, same(40, BROKEN, GOOD))
    score, failed = decision.guardrails
    assert (failed.canary_mean, failed.stable_mean, failed.blocks) == (1.0, 0.0, 40)
    assert failed.log_threshold_worse == pytest.approx(math.log(2 / 0.05))
    assert failed.log_threshold_better == pytest.approx(math.log(1 / 0.05))
    assert failed.log_e_worse_max >= failed.log_threshold_worse
    assert score.log_e_worse_max < score.log_threshold_worse


def test_promotion_needs_every_guardrail_and_the_minimum_duration() -> None:
    half = [*same(200, GOOD, GOOD)[:100], *same(200, SILENT, SILENT)[100:]]
    patient = CanaryPolicy(guardrails=(SCORE, FAILED), min_duration=3_600, max_duration=9_999)
    only_failed = same(200, SILENT, SILENT)
    assert at(10, only_failed).outcome is CanaryOutcome.HOLD
    assert at(10, half).outcome is CanaryOutcome.PROMOTE
    waiting = at(1_800, half, patient)
    assert waiting.outcome is CanaryOutcome.HOLD
    assert waiting.reasons == ("every guardrail is met; the minimum duration ends in 0.5 hours",)
    assert at(3_600, half, patient).outcome is CanaryOutcome.PROMOTE
    assert at(10, same(40, BAD, GOOD), patient).outcome is CanaryOutcome.ROLL_BACK


def test_tolerance_forgives_a_small_loss_only() -> None:
    slightly: dict[str, float | None] = {"score": 0.82, "failed": 0.0}
    blocks = same(400, slightly, GOOD)
    assert at(10, blocks, CanaryPolicy((SCORE,))).outcome is CanaryOutcome.ROLL_BACK
    tolerant = CanaryPolicy((Guardrail("score", margin=0.3, tolerance=0.2),))
    assert at(10, blocks, tolerant).outcome is CanaryOutcome.PROMOTE
    assert at(10, same(400, BAD, GOOD), tolerant).outcome is CanaryOutcome.ROLL_BACK


def test_when_time_is_up_it_says_how_many_users_are_missing() -> None:
    blocks = same(30, GOOD, GOOD)
    decision = at(1_000, blocks, canary_users_per_day=10)
    assert decision.outcome is CanaryOutcome.INCONCLUSIVE
    assert decision.users_needed is not None
    assert f"about {decision.users_needed} canary users" in " ".join(decision.reasons)
    assert f"at 10 users a day this takes {math.ceil(decision.users_needed / 10)} days" in " ".join(decision.reasons)
    enough = at(1_000, same(30 + decision.users_needed, GOOD, GOOD))
    assert enough.outcome is CanaryOutcome.PROMOTE


def test_when_traffic_can_never_settle_it_no_number_is_invented() -> None:
    at_the_margin = same(60, {"score": 0.8, "failed": 0.0}, GOOD)
    decision = at(
        1_000, at_the_margin, CanaryPolicy((Guardrail("score", margin=0.1, tolerance=0.5),), max_duration=500)
    )
    assert decision.outcome is CanaryOutcome.INCONCLUSIVE
    assert decision.users_needed is None
    assert "more than 2000 canary users" in decision.reasons[1]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"guardrails": ()}, "at least one metric"),
        ({"guardrails": (SCORE, SCORE)}, "metric of its own"),
        ({"guardrails": (SCORE,), "alpha": 0.0}, "alpha"),
        ({"guardrails": (SCORE,), "min_duration": 2.0, "max_duration": 1.0}, "durations"),
    ],
)
def test_impossible_policies_are_refused(bad: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CanaryPolicy(**bad)  # type: ignore[arg-type]


def _release(rng: np.random.Generator, canary_mean: float, users: int, missing: float = 0.0) -> list[UserEvidence]:
    """Users one second apart, one in five on the canary, stable scores 0.80, spread 0.2; failures 2 % everywhere."""
    on_canary = rng.random(users) < 0.2
    scores = np.where(on_canary, draw_users(rng, canary_mean, 0.2, (users,)), draw_users(rng, 0.8, 0.2, (users,)))
    failed = rng.random(users) < 0.02
    absent = rng.random(users) < missing
    return [
        UserEvidence(
            f"u{i}",
            "canary" if on_canary[i] else "stable",
            float(i),
            {"score": None if absent[i] else float(scores[i]), "failed": float(failed[i])},
        )
        for i in range(users)
    ]


def _outcomes(canary_mean: float, releases: int, users: int, k: int, missing: float = 0.0) -> list[str]:
    rng = np.random.default_rng(17)
    policy = CanaryPolicy((Guardrail("score", margin=0.05), Guardrail("failed", margin=0.05, lower_is_better=True)))
    plan = BlockPlan(window=60.0, k=k, concurrency=600.0)
    found = []
    for _ in range(releases):
        evidence = _release(rng, canary_mean, users, missing)
        blocks = form_blocks(evidence, plan, now=users + 60.0)
        on_canary = sum(user.arm == "canary" for user in evidence)
        counts = [StepArrivals(len(evidence) - on_canary, on_canary, 0.2)]
        # Highest values decide, so one look at the end finds all that a look after every user would have found.
        found.append(decide(blocks, policy, started_at=0.0, now=users + 60.0, arrivals=counts).outcome.value)
    return found


def test_equal_versions_are_rarely_rolled_back_and_never_for_silence_that_is_equal() -> None:
    found = _outcomes(0.8, releases=60, users=800, k=3, missing=0.1)
    assert found.count("roll_back") / 60 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)
    assert found.count("inconclusive") == 0


def test_a_bad_version_is_rolled_back_and_never_promoted() -> None:
    found = _outcomes(0.65, releases=30, users=800, k=3)
    assert found.count("roll_back") >= 27
    assert found.count("promote") == 0
