import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.stack.service import Exits, Restart, Service, stop_order


def named(name: str, *after: str) -> Service:
    return Service(name, ("true",), Exits(), after=after)


@pytest.mark.parametrize(
    ("crashes", "now", "expected"),
    [
        ([100.0], 100.0, 0.5),
        ([99.0, 100.0], 100.0, 1.0),
        ([98.0, 99.0, 100.0], 100.0, 2.0),
        ([97.0, 98.0, 99.0, 100.0], 100.0, None),
        ([1.0, 2.0, 3.0, 100.0], 100.0, 0.5),  # old ones are forgiven
    ],
)
def test_waits_double_until_the_attempts_are_used(crashes: list[float], now: float, expected: float | None) -> None:
    assert Restart(attempts=3, within=60.0, delay=0.5).wait(crashes, now) == expected


def test_a_service_that_is_not_to_be_restarted_is_given_up_at_once() -> None:
    assert Restart().wait([5.0], 5.0) is None


@given(st.lists(st.floats(0, 1000), min_size=1).map(sorted), st.integers(1, 6))
def test_no_window_holds_more_restarts_than_allowed(crashes: list[float], attempts: int) -> None:
    policy = Restart(attempts=attempts, within=60.0)
    restarted: list[float] = []
    for index, crash in enumerate(crashes):
        wait = policy.wait(crashes[: index + 1], crash)
        if wait is None:
            break
        assert wait <= policy.longest
        restarted.append(crash)
        assert sum(1 for earlier in restarted if crash - earlier <= 60.0) <= attempts


def test_dependants_stop_first() -> None:
    table = [named("redis"), named("database"), named("gateway", "redis", "database"), named("probe", "gateway")]
    assert [{s.name for s in round_} for round_ in stop_order(table)] == [{"probe"}, {"gateway"}, {"redis", "database"}]


def test_a_circle_and_a_stranger_are_refused() -> None:
    with pytest.raises(ValueError, match="circle"):
        stop_order([named("a", "b"), named("b", "a")])
    with pytest.raises(ValueError, match="'nobody', which is not in the table"):
        stop_order([named("a", "nobody")])
