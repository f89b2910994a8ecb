"""A number that does not fit its change is refused before anything is registered."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.storage.models import PromptVersionRow
from tasks.registration import WrongBump, require_right_bump
from tasks.releases import store
from tasks.releases.stages import Stage
from tasks.releases.store import Step
from tasks.specs.bundle import bundle, digest
from tasks.specs.model import PromptSpec
from tests.tasks.specs.spec_files import changed


def spec(version: str, **changes: Any) -> PromptSpec:
    return PromptSpec.model_validate(changed({"version": version, **changes}))


@pytest.fixture
def served(ledger_url: str, open_engine: Callable[..., Engine], clock: ManualClock) -> Engine:
    """``help`` 1.0.0 is in production; 1.1.0 is registered and was refused."""
    engine = open_engine(ledger_url)
    for one in (spec("1.0.0"), spec("1.1.0", **{"retrieval.top_k": 9})):
        kept = PromptVersionRow(
            tenant="acme",
            name=one.name,
            version=one.version,
            digest=digest(one),
            bundle=msgspec.to_builtins(bundle(one, "acme")),
            spec=one.model_dump(mode="json", by_alias=True),
        )
        store.register_version(engine, clock, kept)
    release = store.open_release(engine, clock, tenant="acme", prompt="help", version="1.0.0", policy={})
    store.transition(engine, clock, release, Stage.PROMOTED, Step("promoted", "so", {}))
    return engine


def test_the_right_one_is_named(served: Engine) -> None:
    with pytest.raises(WrongBump, match=r"minor change of 1\.0\.0 .* the right version is 1\.2\.0"):
        require_right_bump(served, "acme", spec("1.0.1", **{"retrieval.top_k": 5}))


@pytest.mark.parametrize(
    "candidate",
    [
        spec("1.2.0", **{"retrieval.top_k": 5}),
        spec("1.1.0", **{"retrieval.top_k": 9}),  # registered before: its run is repeated
        spec("1.0.0", **{"retrieval.top_k": 5}),  # refused as a duplicate, which says more
    ],
    ids=lambda one: one.version,
)
def test_others_pass(served: Engine, candidate: PromptSpec) -> None:
    require_right_bump(served, "acme", candidate)


def test_another_prompt_or_tenant_begins_anywhere(served: Engine) -> None:
    require_right_bump(served, "other", spec("0.0.1"))
    require_right_bump(served, "acme", spec("3.0.0", name="other"))
