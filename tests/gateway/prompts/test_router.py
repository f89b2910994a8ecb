"""Which version a user gets: sticky, nested, in the declared share, with an evidence sample alike in all arms."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.errors import UnknownPrompt
from gateway.prompts.router import Router, by_baseline, describe, stable_only
from gateway.prompts.splits import BASIS, Policy, bucket, choose, in_evidence_sample
from gateway.types import CANARY, STABLE, Arm, Call, ModelRef, PromptVersion, Route, RoutingTable
from tests.gateway.prompts.test_splits import experiment

texts = st.text(max_size=20)
users = st.text(min_size=1, max_size=20)
weights = st.integers(0, BASIS)


def version(number: str) -> PromptVersion:
    return PromptVersion(
        tenant="acme", name="help", version=number, digest=number, template=(), chain=(ModelRef("openai", "small"),)
    )


def route(*canaries: int, salt: str = "salt", evidence: int = 0) -> Route:
    arms = [Arm(STABLE, version("1.0.0"), BASIS - sum(canaries))]
    arms += [Arm(CANARY, version(f"1.{n}.0"), weight) for n, weight in enumerate(canaries, 1)]
    return Route(
        tenant="acme", prompt="help", arms=tuple(arms), release="rel_1", salt=salt, evidence_share=evidence
    )  # fmt: skip


@given(texts, users, st.lists(weights, min_size=2, max_size=6).map(sorted))
def test_while_weights_grow_nobody_goes_back(salt: str, user: str, growing: list[int]) -> None:
    seen = [choose(route(weight, salt=salt), user, {}).arm.name for weight in growing]
    assert seen == sorted(seen, key=[STABLE, CANARY].index)


@given(texts, users)
def test_nothing_and_everything_are_exact(salt: str, user: str) -> None:
    assert choose(route(0, salt=salt), user, {}).arm.name == STABLE
    assert choose(route(BASIS, salt=salt), user, {}).arm.name == CANARY


@given(texts, weights)
def test_who_has_no_name_is_on_the_stable_arm_and_no_evidence(salt: str, weight: int) -> None:
    opened = route(weight, salt=salt, evidence=BASIS)
    assert choose(opened, "", {}).arm.name == STABLE
    assert not in_evidence_sample(opened, "")


@given(texts, texts, texts)
def test_a_place_is_fixed_and_in_range(salt: str, candidate: str, user: str) -> None:
    assert 0 <= bucket(salt, candidate, user) == bucket(salt, candidate, user) < BASIS


def test_parts_that_read_alike_when_glued_fall_apart() -> None:
    pairs = [(bucket("a", "bc", str(n)), bucket("ab", "c", str(n))) for n in range(100)]
    assert sum(one == other for one, other in pairs) < 5


@pytest.mark.parametrize("shares", [(1000,), (2500,), (5000,), (1000, 2000), (500, 500, 4000)])
def test_shares_are_as_declared(shares: tuple[int, ...]) -> None:
    people = 20_000
    opened = route(*shares)
    got = [choose(opened, f"user-{n}", {}).arm.version.version for n in range(people)]
    for arm in opened.arms:
        share = arm.weight / BASIS
        five_sigma = 5 * (share * (1 - share) / people) ** 0.5
        assert got.count(arm.version.version) / people == pytest.approx(share, abs=five_sigma)


def test_the_evidence_sample_is_the_same_share_of_every_arm() -> None:
    opened = route(3000, evidence=4000)
    people = [
        (choose(opened, f"user-{n}", {}).arm.name, in_evidence_sample(opened, f"user-{n}")) for n in range(20_000)
    ]
    for name in (STABLE, CANARY):
        sampled = [inside for arm, inside in people if arm == name]
        five_sigma = 5 * (0.4 * 0.6 / len(sampled)) ** 0.5
        assert sum(sampled) / len(sampled) == pytest.approx(0.4, abs=five_sigma)


@given(users, weights, st.lists(weights, min_size=2, max_size=2))
def test_the_evidence_sample_does_not_change_with_the_canary_s_share(user: str, share: int, two: list[int]) -> None:
    first, second = (in_evidence_sample(route(weight, evidence=share), user) for weight in two)
    assert first == second


def test_another_release_or_salt_meets_other_users() -> None:
    people = [f"user-{n}" for n in range(2000)]
    by_salt = [{u for u in people if choose(route(1000, salt=s), u, {}).arm.name == CANARY} for s in ("a", "b")]
    assert len(by_salt[0] & by_salt[1]) < 0.3 * len(by_salt[0])


def call(**more: str) -> Call:
    return Call(**({"id": "call_1", "tenant": "acme", "received_at": 0.0, "prompt": "help", "user": "u"} | more))  # type: ignore[arg-type]


def test_a_call_carries_what_was_decided() -> None:
    router = Router(RoutingTable(1, (route(BASIS, evidence=BASIS),)))
    routed = router.route(call())
    assert (routed.arm, routed.release, routed.weight, routed.evidence) == (CANARY, "rel_1", BASIS, True)
    assert routed.version == version("1.1.0")
    assert router.route(routed) is routed


def test_a_pinned_version_is_no_part_of_the_release() -> None:
    router = Router(RoutingTable(1, (route(5000, evidence=BASIS),)))
    for pinned in ("1.0.0", "1.1.0"):
        routed = router.route(call(pinned=pinned))
        assert routed.version == version(pinned)
        assert (routed.arm, routed.release, routed.weight, routed.evidence) == ("", "", 0, False)
    with pytest.raises(UnknownPrompt):
        router.route(call(pinned="2.0.0"))


def test_another_tenant_s_prompt_is_as_unknown_as_none() -> None:
    router = Router(RoutingTable(1, (route(),)))
    said = []
    for asked in (call(tenant="other"), call(prompt="helq")):
        with pytest.raises(UnknownPrompt) as caught:
            router.route(asked)
        said.append(caught.value.message.replace("helq", "help"))
    assert said[0] == said[1]


def test_an_older_table_is_refused() -> None:
    router = Router(RoutingTable(5, (route(),)))
    assert not router.swap(RoutingTable(4))
    assert router.table.revision == 5
    assert router.swap(RoutingTable(6))
    with pytest.raises(UnknownPrompt):
        router.find("acme", "help")


def test_what_is_active_is_described_for_everybody_and_for_one_user() -> None:
    opened = route(2500)
    told = describe(opened, "u")
    assert (told["stable"], told["release"]) == ("1.0.0", "rel_1")
    assert told["arms"] == [
        {"arm": STABLE, "version": "1.0.0", "share_of_users": 0.75},
        {"arm": CANARY, "version": "1.1.0", "share_of_users": 0.25},
    ]
    arm = choose(opened, "u", {}).arm
    assert told["user"] == {"arm": arm.name, "version": arm.version.version}
    assert describe(stable_only(opened))["release"] is None
    assert stable_only(opened).arms == (structs.replace(opened.arms[0], weight=BASIS),)


def test_an_experiment_is_described_with_the_weights_of_its_segments() -> None:
    opened = experiment(Policy.CONTEXTUAL, (6000, 4000), keys=("plan",), segments={"plan=pro": (0, BASIS)}, epoch=3)
    told = describe(opened, "u", {"plan": "pro"})
    assert (told["stable"], told["release"]) == ("1.0.0", None)
    assert told["experiment"] == {
        "id": "exp_1",
        "policy": "contextual",
        "epoch": 3,
        "fall_back": False,
        "context_keys": ["plan"],
        "segments": {"plan=pro": {"1.0.0": 0.0, "1.1.0": 1.0}},
    }
    assert told["arms"] == [
        {"arm": STABLE, "version": "1.0.0", "share_of_users": 0.6},
        {"arm": "1.1.0", "version": "1.1.0", "share_of_users": 0.4},
    ]
    assert told["user"] == {"arm": "1.1.0", "version": "1.1.0"}
    closed = stable_only(opened)
    assert describe(closed)["experiment"] is None
    assert closed == Route(tenant="acme", prompt="help", arms=(structs.replace(opened.arms[0], weight=BASIS),))


def test_a_call_of_an_experiment_carries_who_drew_it_and_with_what_chance() -> None:
    opened = experiment(Policy.CONTEXTUAL, (6000, 4000), keys=("plan",), segments={"plan=pro": (0, BASIS)})
    router = Router(RoutingTable(1, (opened,)))
    routed = router.route(structs.replace(call(), traits={"plan": "pro"}))
    assert (routed.experiment, routed.segment, routed.propensity, routed.weight) == ("exp_1", "plan=pro", 1.0, BASIS)
    assert (routed.version, routed.arm, routed.release, routed.evidence) == (version("1.1.0"), "1.1.0", "", True)
    pinned = router.route(call(pinned="1.1.0"))
    assert (pinned.experiment, pinned.segment, pinned.propensity, pinned.evidence) == ("", "", None, False)


def test_the_baseline_stands_by_where_it_is_declared_and_another_arm_was_drawn() -> None:
    opened = structs.replace(experiment(Policy.AB, (5000, 5000)), fall_back=True)
    seen = {}
    for number in range(50):
        came = call(user=f"user-{number}")
        routed = Router(RoutingTable(1, (opened,))).route(came)
        assert routed.version is not None
        seen[routed.version.version] = routed
        instead = by_baseline(came, routed)
        if routed.version == opened.stable:
            assert instead is None
            continue
        assert instead is not None
        assert (instead.version, instead.arm, instead.fell_back_from) == (opened.stable, STABLE, "1.1.0")
        assert (instead.experiment, instead.propensity, instead.evidence) == ("exp_1", 0.5, True)
        assert by_baseline(came, instead) is None, "once"
    assert set(seen) == {"1.0.0", "1.1.0"}
    plain = Router(RoutingTable(1, (structs.replace(opened, fall_back=False),)))
    assert by_baseline(call(), plain.route(structs.replace(call(), user=seen["1.1.0"].user))) is None


def test_tables_and_calls_of_before_experiments_still_load() -> None:
    """The last copy on disk, and what another worker published, may be of an older gateway."""
    table = RoutingTable(
        7, (experiment(Policy.BANDIT, keys=("plan",), segments={"plan=a": (1, 2, 9_997)}), route(2500))
    )
    assert msgspec.json.decode(msgspec.json.encode(table), type=RoutingTable) == table
    older = msgspec.to_builtins(RoutingTable(6, (route(2500),)))
    for name in ("experiment", "policy", "context_keys", "segments", "fall_back", "epoch"):
        del older["routes"][0][name]
    assert msgspec.json.decode(msgspec.json.encode(older), type=RoutingTable) == RoutingTable(6, (route(2500),))
