"""Blocks are saved from the settings and give the same settings back; what people edited stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks.connections import Ledger
from blocks.policies import CanaryPolicy, GatePolicy
from blocks.workspace import load_workspace, save_workspace
from gateway.settings import ChainSettings, Settings

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def fresh(prefect_api: str) -> Iterator[None]:
    load_workspace.cache_clear()
    yield
    load_workspace.cache_clear()


def settings(home: Path) -> Settings:
    return Settings(
        home=home,
        database_url="postgresql://somebody:hunter2@db/ledger",
        cache_redis_url="redis://:hunter2@cache:6379/0",
        state_redis_url="redis://:hunter2@state:6379/0",
        sql_timeout=2.0,
        sql_pool_size=7,
        sql_max_overflow=0,
        sql_pool_pre_ping=False,
        sql_statement_timeout=3.0,
        redis_timeout=0.5,
        openai_api_key=SecretStr("sk-hunter2"),
        openai_base_url="http://127.0.0.1:1/v1",
        anthropic_api_key=SecretStr("ak-hunter2"),
        anthropic_base_url="http://127.0.0.1:2",
        chain=ChainSettings(total_timeout=7.0, max_attempts_per_link=3),
        mlflow_tracking_uri="http://127.0.0.1:3",
        alert_webhook_url=SecretStr("http://127.0.0.1:4/hunter2"),
        tenant="acme",
    )


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    wanted = settings(tmp_path)
    slugs = save_workspace(wanted, "roundtrip")
    assert len(set(slugs)) == 8
    loaded = load_workspace("roundtrip")
    assert loaded.settings == wanted
    assert loaded.settings.openai_api_key.get_secret_value() == "sk-hunter2"
    assert isinstance(loaded.settings.chain, ChainSettings)
    assert loaded.policy_defaults == {"gate": GatePolicy().defaults(), "canary": CanaryPolicy().defaults()}
    assert "hunter2" not in repr(Ledger.load("roundtrip", _sync=True))  # type: ignore[call-arg]


def test_saving_again_keeps_what_people_edited_and_refreshes_the_connections(tmp_path: Path) -> None:
    save_workspace(settings(tmp_path), "edited")
    GatePolicy(margin=0.01, judge_model="acme/judge").save("edited", overwrite=True)
    moved = settings(tmp_path).model_copy(update={"tenant": "other"})
    assert "promptyard-gate-policy" not in save_workspace(moved, "edited")
    loaded = load_workspace("edited")
    assert loaded.settings.tenant == "other"
    assert loaded.policy_defaults["gate"] == {
        "margin": 0.01,
        "floor": 0.8,
        "alpha": 0.05,
        "judge": {"model": "acme/judge"},
    }


def test_without_blocks_the_environment_speaks() -> None:
    loaded = load_workspace("never-saved")
    assert loaded.settings == Settings()
    assert loaded.policy_defaults == {}


def test_of_blocks_only_some_of_which_were_saved_the_rest_is_the_environments(tmp_path: Path) -> None:
    Ledger(database_url=SecretStr("sqlite:///x.db"), home=str(tmp_path), tenant="t").save("partly")
    loaded = load_workspace("partly").settings
    assert (loaded.tenant, loaded.sql_url, loaded.home) == ("t", "sqlite:///x.db", tmp_path)
    assert loaded.openai_base_url == Settings().openai_base_url
