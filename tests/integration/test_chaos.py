"""Everything breaks in turn under steady load, briefly; ``make bench`` has the long version."""

import asyncio
from pathlib import Path

import pytest

from tests.chaos.stand import brisk, stand
from tests.chaos.trial import summary, trial

pytestmark = pytest.mark.integration


def test_what_must_hold_holds_while_everything_breaks_in_turn(tmp_path: Path) -> None:
    with stand(tmp_path, chain=brisk(), sql_timeout=1.0) as ready:
        verdict = asyncio.run(trial(ready.here, ready.gateway, ready.tenants, ready.faults, seconds=1.0, callers=8))
    assert not verdict.violations, summary(verdict.violations)
    assert verdict.recorded >= verdict.answered > 500
