"""Blocks: nobody twice, arms apart, and never chosen by what users experienced."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.statistics.blocks import Block, BlockPlan, UserEvidence, form_blocks, stable_users_per_block

QUICK = settings(max_examples=50, deadline=None)

PLAN = BlockPlan(window=100.0, k=2)

RECORDS = st.lists(
    st.builds(
        UserEvidence,
        user=st.integers(0, 30).map(lambda number: f"u{number}"),
        arm=st.sampled_from(["stable", "canary"]),
        first_call_at=st.integers(0, 500).map(float),
        metrics=st.fixed_dictionaries({"score": st.one_of(st.none(), st.floats(0, 1))}),
    ),
    max_size=60,
)


def canary(user: str, at: float, score: float | None = 1.0) -> UserEvidence:
    return UserEvidence(user, "canary", at, {"score": score})


def stable(user: str, at: float, score: float | None = 0.5) -> UserEvidence:
    return UserEvidence(user, "stable", at, {"score": score})


def names(blocks: tuple[Block, ...]) -> list[tuple[str, tuple[str, ...]]]:
    return [(block.canary.user, tuple(user.user for user in block.stable)) for block in blocks]


def test_a_canary_user_gets_the_latest_unused_stable_users() -> None:
    evidence = [stable("s1", 1), stable("s2", 2), stable("s3", 3), canary("c1", 4), stable("s4", 5), canary("c2", 6)]
    assert names(form_blocks(evidence, PLAN, now=1000).blocks) == [("c1", ("s2", "s3")), ("c2", ("s1", "s4"))]


def test_canary_users_wait_in_order_of_arrival() -> None:
    evidence = [canary("c1", 1), canary("c2", 2), stable("s1", 3), stable("s2", 4), stable("s3", 5), stable("s4", 6)]
    assert names(form_blocks(evidence, PLAN, now=1000).blocks) == [("c1", ("s1", "s2")), ("c2", ("s3", "s4"))]


def test_exclusions_are_counted_by_reason() -> None:
    evidence = [
        canary("lonely", 0),  # no stable user within 100 s
        stable("old", 0),
        *(stable(f"s{i}", 500 + i) for i in range(3)),
        canary("c1", 510),
        stable("c1", 520),  # seen on the canary first
        canary("c1", 530),  # a second record of the same arm
        canary("fresh", 950),  # its window is still open
    ]
    found = form_blocks(evidence, PLAN, now=1000)
    assert names(found.blocks) == [("c1", ("s1", "s2"))]
    left_out = found.exclusions
    assert (left_out.window_open, left_out.other_arm_first, left_out.repeated) == (1, 1, 1)
    assert (left_out.waiting, left_out.not_concurrent_canary, left_out.not_concurrent_stable) == (1, 1, 1)


def test_a_window_that_closes_right_now_counts() -> None:
    evidence = [stable("s1", 0), stable("s2", 0), canary("c", 0)]
    assert len(form_blocks(evidence, PLAN, now=100).blocks) == 1
    assert len(form_blocks(evidence, PLAN, now=99.9).blocks) == 0


@pytest.mark.parametrize(
    ("scores", "needed", "expected"),
    [
        ((1.0, 0.4, 0.6), None, (1.0, 0.5)),
        ((None, 0.4, 0.6), None, None),
        ((float("nan"), 0.4, 0.6), None, None),
        ((1.0, None, 0.6), None, None),
        ((1.0, None, 0.6), 1, (1.0, 0.6)),
        ((1.0, None, None), 1, None),
    ],
)
def test_a_block_is_left_out_for_a_metric_that_is_missing(
    scores: tuple[float | None, ...], needed: int | None, expected: tuple[float, float] | None
) -> None:
    evidence = [stable("s1", 0, scores[1]), stable("s2", 1, scores[2]), canary("c", 2, scores[0])]
    found = form_blocks(evidence, replace(PLAN, values_needed=needed), now=1000)
    (block,) = found.blocks
    pair = block.pair("score")
    assert pair == (None if expected is None else pytest.approx(expected))
    missing = found.missing("score")
    absent = [score is None or score != score for score in scores]
    assert missing == {"canary": absent[0], "stable": sum(absent[1:])}


def test_a_value_outside_the_unit_interval_names_user_and_metric() -> None:
    with pytest.raises(ValueError, match="'score' of user 'c'"):
        canary("c", 0, 1.5).value("score")


@QUICK
@given(RECORDS, st.floats(100, 700))
def test_every_user_at_most_once_and_arms_never_mixed(evidence: list[UserEvidence], now: float) -> None:
    earliest = {user: min(r.first_call_at for r in evidence if r.user == user) for user in {r.user for r in evidence}}
    seen: set[str] = set()
    for index, block in enumerate(form_blocks(evidence, PLAN, now=now).blocks):
        assert block.index == index
        assert block.canary.arm == "canary"
        assert [user.arm for user in block.stable] == ["stable"] * PLAN.k
        for member in (block.canary, *block.stable):
            assert member.user not in seen
            assert member.first_call_at == earliest[member.user]
            assert member.first_call_at + PLAN.window <= now
            assert abs(member.first_call_at - block.canary.first_call_at) <= PLAN.window
            seen.add(member.user)


@QUICK
@given(RECORDS, st.data())
def test_outcomes_do_not_change_who_is_compared_with_whom(evidence: list[UserEvidence], data: st.DataObject) -> None:
    scores = data.draw(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=len(evidence), max_size=len(evidence)))
    changed = [replace(r, metrics={"score": s}) for r, s in zip(evidence, scores, strict=True)]
    assert names(form_blocks(evidence, PLAN, now=1000).blocks) == names(form_blocks(changed, PLAN, now=1000).blocks)


@QUICK
@given(RECORDS, st.floats(0, 700), st.floats(0, 700), st.randoms(use_true_random=False))
def test_an_earlier_look_saw_a_prefix_whatever_the_order_of_records(
    evidence: list[UserEvidence], one: float, other: float, random: object
) -> None:
    shuffled = list(evidence)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    # Two records of one user, arm and second may differ in their scores only; the names must agree all the same.
    early = names(form_blocks(evidence, PLAN, now=min(one, other)).blocks)
    late = names(form_blocks(shuffled, PLAN, now=max(one, other)).blocks)
    assert late[: len(early)] == early


@QUICK
@given(RECORDS, RECORDS, st.integers(1, 3))
def test_blocks_once_formed_stay_whatever_arrives_late(
    evidence: list[UserEvidence], late: list[UserEvidence], k: int
) -> None:
    formed = form_blocks(evidence, PLAN, now=1000).blocks
    again = form_blocks([*evidence, *late], BlockPlan(window=100, k=k), now=1000, formed=formed).blocks
    assert again[: len(formed)] == formed
    members = [user.user for block in again for user in (block.canary, *block.stable)]
    assert len(members) == len(set(members))


@QUICK
@given(RECORDS)
def test_going_on_from_formed_blocks_equals_starting_over(evidence: list[UserEvidence]) -> None:
    formed = form_blocks(evidence, PLAN, now=400).blocks
    assert names(form_blocks(evidence, PLAN, now=1000, formed=formed).blocks) == names(
        form_blocks(evidence, PLAN, now=1000).blocks
    )


@pytest.mark.parametrize(("share", "k"), [(0.01, 4), (0.1, 4), (0.2, 4), (0.25, 3), (1 / 3, 2), (0.5, 1), (0.9, 1)])
def test_k_fits_the_share(share: float, k: int) -> None:
    assert stable_users_per_block(share) == k


@pytest.mark.parametrize("bad", [{"window": 0}, {"k": 0}, {"values_needed": 3}, {"concurrency": -1}])
def test_impossible_plans_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|at least"):
        BlockPlan(**{"window": 1.0, "k": 2, **bad})  # type: ignore[arg-type]
