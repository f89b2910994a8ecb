"""A home of its own with a ledger and nothing that runs; commands are called as a person types them."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from deployments.cli.main import build
from gateway.clock import ManualClock
from gateway.storage.models import PromptVersionRow
from gateway.types import ModelRef, PromptVersion
from tasks.releases import store
from tasks.releases.stages import Stage
from tasks.releases.store import Step

TENANT, PROMPT = "default", "help-centre"
NOBODY = "redis://127.0.0.1:1/0"
"""Port 1 of loopback: refused at once."""

Promptyard = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def environ(home: Path, ledger_url: str) -> dict[str, str]:
    home.mkdir()
    return {
        "PROMPTYARD_HOME": str(home),
        "PROMPTYARD_DATABASE_URL": ledger_url,
        "PROMPTYARD_STATE_REDIS_URL": NOBODY,
        "PROMPTYARD_CACHE_REDIS_URL": NOBODY,
        "PROMPTYARD_PREFECT_API_URL": "",
        "PROMPTYARD_MLFLOW_TRACKING_URI": "",
        "PREFECT_API_URL": "",
        "MLFLOW_TRACKING_URI": "",
        "COLUMNS": "80",
    }


@pytest.fixture
def promptyard(environ: dict[str, str]) -> Promptyard:
    def call(*arguments: str, **more: str) -> Result:
        return CliRunner().invoke(build(), list(arguments), env={**environ, **more})

    return call


@pytest.fixture
def ledger(environ: dict[str, str], open_engine: Callable[..., Engine]) -> Engine:
    return open_engine(environ["PROMPTYARD_DATABASE_URL"])


def add_version(engine: Engine, clock: ManualClock, version: str, verdict: str = "pass") -> None:
    """A registered version of the help centre."""
    message = {"role": "user", "content": "hi"}
    bundle = PromptVersion(
        tenant=TENANT,
        name=PROMPT,
        version=version,
        digest=version,
        template=(message,),
        chain=(ModelRef("openai", "m"),),
    )
    row = PromptVersionRow(
        tenant=TENANT,
        name=PROMPT,
        version=version,
        digest=version,
        bundle=msgspec.to_builtins(bundle),
        spec={},
        source="",
        author="somebody with a rather long name",
        changelog="",
        mlflow_version="",
        verdict=verdict,
        gate_run="",
    )
    store.register_version(engine, clock, row)


def promote(engine: Engine, clock: ManualClock, version: str) -> None:
    """A release of the version from its opening to production."""
    release = store.open_release(engine, clock, tenant=TENANT, prompt=PROMPT, version=version, policy={})
    store.transition(engine, clock, release, Stage.PROMOTED, Step("promoted", "in a test", {}))


def start_canary(engine: Engine, clock: ManualClock, version: str, weight: int) -> str:
    """An open canary with ``weight`` basis points; its release's id."""
    release = store.open_release(engine, clock, tenant=TENANT, prompt=PROMPT, version=version, policy={}, salt="s")
    row, _ = store.transition(
        engine, clock, release, Stage.CANARY, Step("started", "in a test", {}), weight=weight, plan_step=0
    )
    return row.id
