"""The way back: one transaction, whatever is open."""

import pytest

from gateway.errors import Conflict, NotFound
from tasks.releases import store
from tasks.releases.stages import Stage
from tasks.releases.store import StandingChanged
from tests.tasks.releases.yard import Yard


def back(yard: Yard, to: str = "") -> tuple[str, str]:
    yard.clock.advance(1)
    target, undone, table = store.roll_back(
        yard.engine, yard.clock, tenant="acme", prompt="help", to=to, actor="somebody"
    )
    assert table == yard.routing()
    return target, undone


def production(yard: Yard) -> tuple[str, str]:
    row = store.get_prompt(yard.engine, "acme", "help")
    return row.production, row.previous


def test_an_open_canary_is_closed_and_the_stable_version_serves(yard: Yard) -> None:
    release = yard.canary()
    assert back(yard) == ("1.0.0", f"release {release.id} of 1.1.0")
    closed = yard.release(release)
    assert (closed.stage, closed.open_slot, closed.weight) == (Stage.ROLLED_BACK, None, 0)
    assert closed.reason == "rolled back by hand by somebody"
    assert yard.kinds(release)[-1] == "rolled_back"
    assert (yard.weights(), production(yard)) == ({"1.0.0": 10_000}, ("1.0.0", ""))


def test_without_an_open_release_the_previous_version_serves_again(yard: Yard) -> None:
    first = yard.promote("1.0.0")
    release = yard.promote("1.1.0")
    assert back(yard) == ("1.0.0", "help 1.1.0 in production")
    assert (yard.weights(), production(yard)) == ({"1.0.0": 10_000}, ("1.0.0", ""))
    left = store.steps_of(yard.engine, release.id)[-1]
    assert (left.kind, left.reason, left.at) == ("left", "help went back to 1.0.0 by somebody", yard.clock.now())
    assert "left" not in yard.kinds(first)
    assert yard.release(release).stage == Stage.PROMOTED, "what was decided then stays decided"


def promote(yard: Yard, *versions: str) -> None:
    for version in versions:
        yard.promote(version)
        yard.clock.advance(1)


def test_a_second_rollback_goes_further_back_and_never_to_what_was_left(yard: Yard) -> None:
    promote(yard, "1.0.0", "1.1.0", "1.2.0")
    assert back(yard)[0] == "1.1.0"
    assert back(yard)[0] == "1.0.0"
    with pytest.raises(Conflict, match="no earlier version"):
        back(yard)
    assert (yard.weights(), production(yard)) == ({"1.0.0": 10_000}, ("1.0.0", ""))


def test_a_version_that_was_rolled_back_is_not_what_served_before_the_next(yard: Yard) -> None:
    promote(yard, "1.0.0", "1.1.0")
    back(yard)
    promote(yard, "1.2.0")
    assert production(yard) == ("1.2.0", "1.0.0")
    assert back(yard)[0] == "1.0.0"
    with pytest.raises(Conflict, match="no earlier version"):
        back(yard)


def test_a_version_by_hand_is_left_for_what_served_before_it(yard: Yard) -> None:
    promote(yard, "1.0.0", "1.1.0", "1.2.0")
    assert back(yard, "1.1.0")[0] == "1.1.0"
    assert production(yard) == ("1.1.0", "1.0.0")
    assert back(yard, "1.2.0")[0] == "1.2.0"
    assert production(yard) == ("1.2.0", ""), "whoever goes forth by hand has not said what is good behind it"


def test_whoever_comes_second_with_the_same_view_is_told(yard: Yard) -> None:
    promote(yard, "1.0.0", "1.1.0", "1.2.0")
    seen = store.standing(yard.engine, "acme", "help")
    store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help", expected=seen)
    with pytest.raises(StandingChanged, match=r"1\.1\.0 serves"):
        store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help", expected=seen)
    assert production(yard) == ("1.1.0", "1.0.0")


def test_a_release_that_somebody_else_closed_does_not_cost_production(yard: Yard) -> None:
    promote(yard, "0.9.0")
    yard.canary()
    seen = store.standing(yard.engine, "acme", "help")
    assert (seen.production, seen.candidate) == ("1.0.0", "1.1.0")
    store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help", expected=seen)
    with pytest.raises(StandingChanged):
        store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help", expected=seen)
    assert production(yard) == ("1.0.0", "0.9.0")


def test_a_version_promoted_twice_ends_the_way_back(yard: Yard) -> None:
    promote(yard, "1.0.0", "1.1.0", "1.0.0")
    assert back(yard)[0] == "1.1.0"
    with pytest.raises(Conflict, match="no earlier version"):
        back(yard)


def test_to_any_registered_version_also_with_an_open_release(yard: Yard) -> None:
    release = yard.canary()
    yard.register("0.9.0")
    assert back(yard, "0.9.0") == ("0.9.0", f"release {release.id} of 1.1.0 and help 1.0.0 in production")
    assert (yard.weights(), production(yard)) == ({"0.9.0": 10_000}, ("0.9.0", ""))


def test_a_first_release_can_be_ended_though_nothing_serves(yard: Yard) -> None:
    yard.register("1.0.0")
    release, _ = yard.move(yard.open("1.0.0"), Stage.AWAITING_APPROVAL)
    assert back(yard) == ("", f"release {release.id} of 1.0.0")
    assert yard.release(release).stage == Stage.ROLLED_BACK
    assert yard.open("1.0.0").id != release.id


def test_there_is_no_way_back(yard: Yard) -> None:
    yard.promote("1.0.0")
    with pytest.raises(Conflict, match="no earlier version") as refused:
        back(yard)
    assert "promptyard rollback help VERSION" in refused.value.hint
    with pytest.raises(Conflict, match="in production already"):
        back(yard, "1.0.0")
    with pytest.raises(NotFound, match=r"no version 7\.0\.0"):
        back(yard, "7.0.0")
    with pytest.raises(NotFound, match="no prompt named 'other'"):
        store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="other")
    assert yard.weights() == {"1.0.0": 10_000}


def test_an_unknown_target_leaves_the_open_release_alone(yard: Yard) -> None:
    release = yard.canary()
    with pytest.raises(NotFound):
        back(yard, "7.0.0")
    assert yard.release(release).stage == Stage.CANARY
    assert yard.weights() == {"1.0.0": 7_500, "1.1.0": 2_500}
