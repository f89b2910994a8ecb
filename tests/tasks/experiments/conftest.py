"""A yard on both databases, and one on a single kind for what is not about them."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from tests.tasks.releases.yard import Yard


@pytest.fixture
def yard(engine: Engine, clock: ManualClock) -> Yard:
    return Yard(engine, clock)


@pytest.fixture
def small_yard(ledger_url: str, open_engine: Callable[..., Engine], clock: ManualClock) -> Yard:
    return Yard(open_engine(ledger_url), clock)
