"""Documents change under load while either Redis dies, briefly; ``python -m tests.bench freshness`` is the long one."""

import asyncio
from pathlib import Path

import pytest

from tests.freshness.stand import stand, troubles
from tests.freshness.trial import Trial

pytestmark = pytest.mark.integration


def test_no_worker_serves_what_an_acknowledged_change_made_wrong(tmp_path: Path) -> None:
    with stand(tmp_path, workers=2) as (here, url, key):
        trial = Trial(url, key, subjects=12, readers=8, pause=0.3)
        report = asyncio.run(trial.run(6.0, troubles(here)))
    assert not report.stale, report.stale[:5]
    assert report.reads > 300
    assert report.writes > 5
    assert report.better, "a new document that answers better was tried"
    assert report.layers["exact (hit)"] > 20, f"what is never kept is never stale: {report.layers}"
    assert sum(report.errors.values()) <= report.reads / 100, report.errors
