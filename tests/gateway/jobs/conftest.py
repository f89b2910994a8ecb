"""Jobs of a few small items."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock, new_id
from gateway.jobs import store
from gateway.jobs.rules import JobKind
from gateway.jobs.store import NewJob
from gateway.storage.models import JobRow

Accept = Callable[..., JobRow]


def new_job(clock: ManualClock, tenant: str = "acme", items: int = 3) -> NewJob:
    inputs = [{"variables": {"question": f"number {seq}"}} for seq in range(items)]
    kind = JobKind.COMPLETION
    return NewJob(
        id=new_id("job", clock), tenant=tenant, key_id="key_1", kind=kind, request={"prompt": "help"}, items=inputs
    )


@pytest.fixture
def accept(engine: Engine, clock: ManualClock) -> Accept:
    """Queue a job a second after the one before."""

    def one(tenant: str = "acme", items: int = 3) -> JobRow:
        clock.advance(1)
        return store.accept(engine, clock, new_job(clock, tenant, items), most_open=100)

    return one
