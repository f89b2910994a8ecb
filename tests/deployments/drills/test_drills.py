"""Each drill, small: the failure shows without its protection and is gone with it."""

import pytest

from deployments.drills.outcome import judged
from deployments.drills.running import DRILLS, run_drill

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", sorted(DRILLS))
async def test_the_failure_shows_and_is_gone(name: str) -> None:
    outcome = await run_drill(name, small=True)
    assert outcome.passed, outcome
    assert outcome.drill == name
    assert outcome.seconds > 0


@pytest.mark.parametrize(
    ("without", "protected", "passed"), [(9, 0, True), (0, 0, False), (9, 9, False), (0, 9, False)]
)
def test_both_sides_must_show_it(without: int, protected: int, passed: bool) -> None:
    outcome = judged(
        "d",
        "f",
        "p",
        without={"n": without},
        protected={"n": protected},
        fails=lambda one: one["n"] > 0,
        holds=lambda one: one["n"] == 0,
    )
    assert outcome.passed is passed
    assert ("gone" in outcome.verdict) is passed


def test_both_sides_count_the_same() -> None:
    with pytest.raises(ValueError, match="same"):
        judged("d", "f", "p", without={"a": 1}, protected={"b": 1}, fails=lambda _: True, holds=lambda _: True)
