"""A cache that is emptied is warm again after the next reconcile, and the hourly report shows what it did."""

import pytest
from prefect.client.orchestration import get_client

from flows.advance_canaries import advance_canaries
from flows.invalidate_cache import InvalidateRequest, invalidate_cache
from flows.report_cache import CacheReportRequest, report_cache
from gateway.clock import SystemClock, new_id
from gateway.ledger.writer import LedgerWriter
from gateway.types import Answer, Call, Layer, PromptVersion
from tasks.cache_history import memory_points
from tasks.llm import client
from tasks.warming import version_to_warm
from tests.flows.conftest import World

pytestmark = pytest.mark.integration
QUESTIONS = ("How long is the free trial?", "When are invoices created?", "Which payment methods do you accept?")


def ask(world: World, version: PromptVersion, question: str) -> Answer:
    """As a live user."""
    known, clock = client(world.settings), SystemClock()
    call = Call(
        id=new_id("call", clock),
        tenant="acme",
        received_at=clock.now(),
        prompt=version.name,
        version=version,
        variables={"question": question},
    )
    return known.run(known.gateway.pipeline.answer(call), patience=60.0)


def shown(key: str) -> list[str]:
    """The kinds of the newest artifact under that key."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    with get_client(sync_client=True) as api:
        found = api.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return [str(one.type) for one in found]


def test_an_emptied_cache_is_warm_again_and_the_report_shows_it(world: World) -> None:
    world.serve(world.spec("warmed"))
    version = version_to_warm.fn(world.settings, "acme", "warmed", "")
    for question in QUESTIONS:
        ask(world, version, question)
    with LedgerWriter(world.engine, world.settings.spool_directory, SystemClock()) as writer:
        while writer.ship():
            pass
    advance_canaries()  # what serves is warmed

    removed = invalidate_cache(InvalidateRequest(dry_run=False, tenant="acme", prompt="warmed"))
    assert removed.removed >= len(QUESTIONS)
    advance_canaries()
    assert [ask(world, version, question).layer for question in QUESTIONS] == [Layer.EXACT] * len(QUESTIONS)
    assert "markdown" in shown("warm-warmed")
    assert "image" in shown("warm-warmed-latency")

    with LedgerWriter(world.engine, world.settings.spool_directory, SystemClock()) as writer:
        while writer.ship():
            pass
    stats = report_cache(CacheReportRequest(hours=1))
    assert stats.hits >= len(QUESTIONS)
    assert stats.memory is not None
    assert len(memory_points(world.engine, 0, SystemClock().now())) == 1
    assert shown("cache-report") == ["markdown"]
    assert shown("cache-report-plot") == ["image"]
