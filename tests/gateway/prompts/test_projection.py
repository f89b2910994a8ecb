"""The routing table as SQL says it, and its revisions across databases."""

from pathlib import Path

import msgspec

from gateway.clock import ManualClock
from gateway.prompts.projection import write_routing
from gateway.prompts.router import Router
from gateway.storage.engine import make_engine, writing
from gateway.storage.models import PromptRow, PromptVersionRow
from gateway.types import ModelRef, PromptVersion, RoutingTable
from tests.databases import new_database


def published(url: str, clock: ManualClock, version: str) -> RoutingTable:
    """The table of a new database with one prompt in production."""
    engine = make_engine(url)
    bundle = PromptVersion(
        tenant="acme", name="help", version=version, digest=version, template=(), chain=(ModelRef("openai", "small"),)
    )
    with writing(engine) as session:
        session.add(
            PromptVersionRow(
                tenant="acme",
                name="help",
                version=version,
                digest=version,
                bundle=msgspec.to_builtins(bundle),
                spec={},
                created_at=clock.now(),
            )
        )
        session.add(PromptRow(tenant="acme", name="help", production=version, updated_at=clock.now()))
        session.flush()
        table = write_routing(session, clock)
    engine.dispose()
    return table


def test_a_new_database_is_not_taken_for_older_than_the_one_before(tmp_path: Path) -> None:
    clock = ManualClock()
    old = published(new_database(tmp_path, "old"), clock, "1.0.0")
    clock.advance(3600)
    new = published(new_database(tmp_path, "new"), clock, "2.0.0")
    router = Router(old)
    assert router.swap(new)
    assert router.find("acme", "help").stable.version == "2.0.0"


def test_the_revision_stands_while_no_route_changes(tmp_path: Path) -> None:
    clock = ManualClock()
    url = new_database(tmp_path)
    table = published(url, clock, "1.0.0")
    engine = make_engine(url)
    clock.advance(60)
    with writing(engine) as session:
        assert write_routing(session, clock) == table
    engine.dispose()
