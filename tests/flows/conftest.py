"""Flows against real things: a Prefect server, two Redis, SQLite, the simulator, MLflow on a SQLite file."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from pydantic import SecretStr
from sqlalchemy import Engine

from blocks.workspace import load_workspace, save_workspace
from flows.release_prompt import ReleaseRequest, release_prompt
from gateway.settings import Settings
from tasks.llm import client
from tasks.registration import engine_of
from tasks.releases import store
from tasks.releasing import Release
from tests.databases import new_database
from tests.servers import CACHE_ROLE, STATE_ROLE, free_port, start_redis

CONTENT = Path(__file__).parents[2] / "deployments" / "prompts" / "help-centre"
DOCUMENTS = (
    "plans-and-prices",
    "free-trial",
    "invoices",
    "payment-methods",
    "changing-plan",
    "cancelling",
    "returns-and-refunds",
    "warranty",
)
GOLDEN = ("g-001", "g-002", "g-003", "g-004", "g-006", "g-007", "g-008", "g-011")
"""With fewer than six items no comparison can be shown to lie within a margin of 0.5."""
MUST_PASS = ("m-001", "m-002")
READY_WITHIN = 60.0


def rows(file: str, ids: tuple[str, ...]) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (CONTENT / file).read_text(encoding="utf-8").splitlines()]
    return [row for row in found if row["id"] in ids]


@dataclass
class World:
    """A workspace whose collection ``help-centre`` has a few documents, and a folder for prompts."""

    settings: Settings
    folder: Path

    @property
    def engine(self) -> Engine:
        return engine_of(self.settings)

    def spec(self, name: str, *, must_pass: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
        """A prompt.yaml with a few golden questions; ``changes`` are top-level fields."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        content = yaml.safe_load((CONTENT / "prompt.yaml").read_text(encoding="utf-8"))
        content |= {"name": name, "gate": {**content["gate"], "floor": 0.3, "margin": 0.5}}
        content["canary"] = {"steps": [50], "window": 60, "scoring_grace": 10, "margin": 0.1}
        path = folder / "prompt.yaml"
        path.write_text(yaml.safe_dump(content | changes), encoding="utf-8")
        cases = rows("must_pass.jsonl", MUST_PASS) if must_pass is None else must_pass
        for file, lines in (("golden.jsonl", rows("golden.jsonl", GOLDEN)), ("must_pass.jsonl", cases)):
            (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path

    def release(self, path: Path) -> Release:
        return release_prompt(ReleaseRequest(path=path, author="somebody"))

    def serve(self, path: Path) -> None:
        """Release a first version unless one serves already, so that tests run in any order."""
        known = {row.name: row.production for row in store.list_prompts(self.engine, "acme")}
        if not known.get(path.parent.name):
            assert self.release(path).stage == "promoted"

    def production(self, name: str) -> str:
        return store.get_prompt(self.engine, "acme", name).production

    def in_workspace(self, **changes: Any) -> None:
        """From now on the blocks hold the settings with these changes."""
        save_workspace(self.settings.model_copy(update=changes))
        load_workspace.cache_clear()


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    """The address of a simulator process."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "infra.simulator", "--port", str(port), "--latency-p50", "1", "--latency-p95", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + READY_WITHIN
        while not _answers(f"{address}/admin/stats"):
            assert process.poll() is None, process.stdout and process.stdout.read().decode()
            assert time.monotonic() < deadline, "the simulator did not start"
            time.sleep(0.1)  # a server's start has no event to wait for
        yield address
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow without its server, which takes ten seconds to start."""
    home = tmp_path_factory.mktemp("mlflow")
    changed: Mapping[str, str] = {"_MLFLOW_SERVER_ARTIFACT_ROOT": (home / "artifacts").as_uri()}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in changed.items():
            environment.setenv(name, value)
        environment.setenv("MLFLOW_DISABLE_TELEMETRY", os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"))
        yield f"sqlite:///{home / 'mlflow.db'}"


@pytest.fixture(scope="module")
def world(
    prefect_api: str, simulator: str, mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    home = tmp_path_factory.mktemp("world")
    cache, state = start_redis(home / "cache", *CACHE_ROLE), start_redis(home / "state", *STATE_ROLE)
    database = new_database(home)
    settings = Settings(
        home=home,
        database_url=database,
        cache_redis_url=cache.url,
        state_redis_url=state.url,
        redis_timeout=5.0,
        sql_timeout=30.0,
        openai_base_url=f"{simulator}/v1",
        openai_api_key=SecretStr("test"),
        anthropic_base_url=simulator,
        anthropic_api_key=SecretStr("test"),
        mlflow_tracking_uri=mlflow_uri,
        tenant="acme",
    )
    built = World(settings, home)
    built.in_workspace()
    put_documents(client(settings))
    try:
        yield built
    finally:
        client(settings).close()
        load_workspace.cache_clear()
        engine_of(settings).dispose()
        cache.stop()
        state.stop()


def put_documents(online: Any) -> None:
    """What the golden questions are about."""
    put: Callable[..., Any] = online.gateway.documents.put
    for name in DOCUMENTS:
        title, _, text = (CONTENT / "documents" / f"{name}.md").read_text(encoding="utf-8").partition("\n")
        online.run(put("acme", "help-centre", name, title=title.removeprefix("# "), text=text.strip()), 60.0)
