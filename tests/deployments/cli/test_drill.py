"""What ``promptyard drill`` prints, for people and for programs."""

import json

import pytest
from typer.testing import CliRunner

from deployments.cli.main import build

pytestmark = pytest.mark.integration

run = CliRunner().invoke


def test_programs_get_the_figures_of_both_sides() -> None:
    done = run(build(), ["drill", "collision", "--small", "--json"])
    assert done.exit_code == 0, done.output
    (told,) = json.loads(done.stdout)
    assert told["passed"] is True
    assert told["without"]["another tenant's answers"] > 0
    assert told["protected"]["another tenant's answers"] == 0


def test_people_get_a_table_and_a_verdict() -> None:
    done = run(build(), ["drill", "stampede", "--small"])
    assert done.exit_code == 0, done.output
    for part in ("stampede", "left out: coalescing", "calls upstream", "gone with it"):
        assert part in done.stdout


def test_a_drill_that_does_not_exist_is_refused() -> None:
    assert run(build(), ["drill", "fire"]).exit_code == 2
