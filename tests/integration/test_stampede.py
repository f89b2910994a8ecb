"""The same question from everybody at once, over two worker processes: the upstream hears it once."""

import contextlib
from pathlib import Path

import pytest

from tests.bench.stage import stage, start_upstream
from tests.bench.stampede import Case, stampede


@pytest.mark.parametrize(
    "case",
    [Case("whole", "a"), Case("streams, leader killed", "b", streamed=True, kill=True)],
    ids=lambda case: case.name,
)
def test_identical_calls_in_flight_are_one_upstream_call(case: Case, tmp_path: Path) -> None:
    with contextlib.ExitStack() as closing:
        provider, _ = start_upstream(closing, 2_000.0)
        here = closing.enter_context(stage(tmp_path, provider))
        outcome = stampede(here, provider, case, callers=60, workers=2)
    assert outcome.errors == 0
    assert 1 <= outcome.upstream_calls <= 1 + case.kill
