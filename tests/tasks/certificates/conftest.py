"""Finished releases of a yard on one database."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.storage.models import ReleaseRow
from tests.tasks.releases.traffic import around, play
from tests.tasks.releases.yard import Yard


@pytest.fixture
def yard(ledger_url: str, open_engine: Callable[..., Engine], clock: ManualClock) -> Yard:
    return Yard(open_engine(ledger_url), clock)


@pytest.fixture
def promoted(yard: Yard) -> ReleaseRow:
    """A canary that was promoted on its evidence, with a few calls that are none."""
    canary = yard.canary()
    return play(yard, canary, around(0.8, 0.8), rounds=40)


@pytest.fixture
def rolled_back(yard: Yard) -> ReleaseRow:
    return play(yard, yard.canary(), around(0.9, 0.4), rounds=20)
