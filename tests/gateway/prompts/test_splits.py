"""Who gets which arm of an experiment: in the declared share, sticky, and by what the caller says of themselves."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.prompts.splits import BASIS, MAX_TRAIT, Policy, choose, draw, in_evidence_sample, segment_of
from gateway.types import STABLE, Arm, ModelRef, PromptVersion, Route

texts = st.text(max_size=20)
users = st.text(min_size=1, max_size=20)
SPLIT = (5_000, 3_000, 2_000)


@st.composite
def splits(draw_one: st.DrawFn, arms: int = 4) -> list[int]:
    cuts = sorted(draw_one(st.lists(st.integers(0, BASIS), min_size=arms - 1, max_size=arms - 1)))
    return [after - before for before, after in zip([0, *cuts], [*cuts, BASIS], strict=True)]


def version(number: str) -> PromptVersion:
    return PromptVersion(
        tenant="acme", name="help", version=number, digest=number, template=(), chain=(ModelRef("openai", "small"),)
    )


def experiment(
    policy: Policy,
    weights: Sequence[int] = SPLIT,
    *,
    epoch: int = 1,
    keys: tuple[str, ...] = (),
    segments: Mapping[str, tuple[int, ...]] | None = None,
    evidence: int = BASIS,
    salt: str = "salt",
) -> Route:
    arms = [Arm(STABLE if n == 0 else f"1.{n}.0", version(f"1.{n}.0"), weight) for n, weight in enumerate(weights)]
    return Route(
        tenant="acme",
        prompt="help",
        arms=tuple(arms),
        salt=salt,
        evidence_share=evidence,
        experiment="exp_1",
        policy=policy,
        context_keys=keys,
        segments=segments or {},
        epoch=epoch,
    )


def served(route: Route, user: str, traits: Mapping[str, str] | None = None) -> str:
    return choose(route, user, traits or {}).arm.version.version


@pytest.mark.parametrize("policy", list(Policy))
@given(splits(), texts, users, st.integers(0, 50))
def test_a_choice_says_what_was_drawn(policy: Policy, weights: list[int], salt: str, user: str, epoch: int) -> None:
    """The propensity is the drawn arm's own share, and an arm without a share is never drawn."""
    route = experiment(policy, weights, salt=salt, epoch=epoch)
    choice = choose(route, user, {})
    assert choice == choose(route, user, {})
    assert choice.weight == choice.arm.weight > 0
    assert choice.propensity == choice.weight / BASIS


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("weights", [(7_000, 3_000), (500, 9_500), SPLIT, (1_000, 0, 9_000), (2_500,) * 4])
def test_propensities_are_the_observed_frequencies(policy: Policy, weights: tuple[int, ...]) -> None:
    people = 20_000
    route = experiment(policy, weights)
    got: Counter[str] = Counter()
    told: dict[str, float | None] = {}
    for number in range(people):
        choice = choose(route, f"user-{number}", {})
        got[choice.arm.version.version] += 1
        told[choice.arm.version.version] = choice.propensity
    for name, propensity in told.items():
        assert propensity is not None
        five_sigma = 5 * (propensity * (1 - propensity) / people) ** 0.5
        assert got[name] / people == pytest.approx(propensity, abs=five_sigma)
    assert sum(one or 0.0 for one in told.values()) == pytest.approx(1.0)


@given(splits(), splits(), texts, users)
def test_users_of_an_ab_test_only_follow_weight(before: list[int], after: list[int], salt: str, user: str) -> None:
    """Who changes leaves an arm that lost share of the rest, for one that gained."""
    names = [f"1.{n}.0" for n in range(4)]
    here, there = draw(salt, names, before, user), draw(salt, names, after, user)
    if here != there:
        # w' of where the user came from grew by less than where they went to
        assert after[here] * before[there] < after[there] * before[here] or before[there] == 0


@given(splits(), texts, users, st.integers(1, 3))
def test_who_loses_an_arm_moves_alone(weights: list[int], salt: str, user: str, out: int) -> None:
    names = [f"1.{n}.0" for n in range(4)]
    without = [0 if index == out else weight for index, weight in enumerate(weights)]
    if any(without):
        here, there = draw(salt, names, weights, user), draw(salt, names, without, user)
        assert here in (there, out)


@given(users, st.integers(0, 20), st.integers(0, 20))
def test_an_ab_test_never_draws_anew(user: str, one: int, other: int) -> None:
    assert served(experiment(Policy.AB, epoch=one), user) == served(experiment(Policy.AB, epoch=other), user)


@pytest.mark.parametrize("policy", [Policy.BANDIT, Policy.CONTEXTUAL])
def test_a_bandit_draws_anew_with_each_epoch(policy: Policy) -> None:
    people = [f"user-{n}" for n in range(4_000)]
    first, second = (
        [served(experiment(policy, epoch=epoch, keys=("plan",)), user, {"plan": "pro"}) for user in people]
        for epoch in (1, 2)
    )
    same = sum(one == other for one, other in zip(first, second, strict=True)) / len(people)
    by_chance = sum((weight / BASIS) ** 2 for weight in SPLIT)
    assert same == pytest.approx(by_chance, abs=0.04)


@given(splits(), st.sampled_from(list(Policy)), st.dictionaries(texts, texts, max_size=3))
def test_who_has_no_name_gets_the_baseline_and_is_drawn_by_nobody(
    weights: list[int], policy: Policy, traits: Mapping[str, str]
) -> None:
    route = experiment(policy, weights)
    choice = choose(route, "", traits)
    assert (choice.arm, choice.propensity) == (route.arms[0], None)
    assert not in_evidence_sample(route, "")


PRO, FREE = "plan=pro|language=de", "plan=free|language=de"
KEYS = ("plan", "language")


@pytest.mark.parametrize(
    ("traits", "segment", "weights"),
    [
        ({"plan": "pro", "language": "de"}, PRO, (0, 0, BASIS)),
        ({"language": "de", "plan": "pro", "shoe_size": "43"}, PRO, (0, 0, BASIS)),
        ({"plan": "free", "language": "de"}, FREE, (0, BASIS, 0)),
        ({"plan": "pro"}, "plan=pro|language=", SPLIT),
        ({"shoe_size": "43"}, "plan=|language=", SPLIT),
        ({}, "plan=|language=", SPLIT),
        ({"plan": "p" * (MAX_TRAIT + 1), "language": "de"}, "plan=|language=de", SPLIT),
        ({"plan": "pro\x00", "language": "\ud800"}, "plan=|language=", SPLIT),
        ({"plan": "pro|language=de"}, "plan=pro%7Clanguage%3Dde|language=", SPLIT),
    ],
)
def test_segments(traits: Mapping[str, str], segment: str, weights: Sequence[int]) -> None:
    """A segment that is not listed has the arms' own weights."""
    listed = {PRO: (0, 0, BASIS), FREE: (0, BASIS, 0)}
    route = experiment(Policy.CONTEXTUAL, keys=KEYS, segments=listed)
    seen: Counter[int] = Counter()
    for number in range(300):
        choice = choose(route, f"user-{number}", traits)
        index = route.arms.index(choice.arm)
        assert (choice.segment, choice.weight) == (segment, weights[index])
        seen[index] += 1
    assert set(seen) == {index for index, weight in enumerate(weights) if weight}


@given(st.dictionaries(st.sampled_from(KEYS), texts), st.dictionaries(st.sampled_from(KEYS), texts))
def test_different_callers_never_read_alike(one: dict[str, str], other: dict[str, str]) -> None:
    def shown(traits: dict[str, str]) -> list[str]:
        return [value if (value := traits.get(key, "")).isprintable() else "" for key in KEYS]

    assert (segment_of(KEYS, one) == segment_of(KEYS, other)) == (shown(one) == shown(other))


@pytest.mark.parametrize("policy", list(Policy))
def test_the_evidence_sample_is_the_same_share_of_every_arm_and_stands(policy: Policy) -> None:
    route = experiment(policy, evidence=4_000)
    later = structs.replace(route, epoch=9)
    people = [f"user-{n}" for n in range(12_000)]
    for arm in route.arms:
        sampled = [in_evidence_sample(route, user) for user in people if choose(route, user, {}).arm == arm]
        assert sum(sampled) / len(sampled) == pytest.approx(0.4, abs=5 * (0.24 / len(sampled)) ** 0.5)
    assert [in_evidence_sample(route, user) for user in people] == [in_evidence_sample(later, user) for user in people]
