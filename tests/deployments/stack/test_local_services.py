"""The table itself: what is started for whom, and with which environment."""

from itertools import product
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from deployments.stack.addresses import choose_addresses, command_environment, service_environment, shown_urls
from deployments.stack.choices import Choices, choose, odd_addresses, without_password
from deployments.stack.home import StackHome
from deployments.stack.ports import PortBook
from deployments.stack.service import Service, stop_order
from deployments.stack.services import Programs, local_services
from gateway.settings import Settings

SHELL_VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")


def table(home: StackHome, settings: Settings, choices: Choices, folder: Path) -> dict[str, Service]:
    at = choose_addresses(settings, choices, PortBook(folder / "ports", lambda _port: True))
    programs = Programs(redis=Path("/bin/redis-server"), prefect_file=Path("prefect.yaml"))
    return {service.name: service for service in local_services(home, choices, at, programs)}


class BareSettings(Settings):
    """Settings that see nothing of the shell that runs the tests."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def bare(**given: object) -> Settings:
    return BareSettings.model_validate(given)


@pytest.mark.parametrize(
    ("given", "simulator"),
    [
        ({}, True),
        ({"openai_api_key": "sk-real"}, False),
        ({"anthropic_api_key": "sk-ant"}, False),
        ({"openai_base_url": "http://127.0.0.1:11434/v1"}, False),
        ({"openai_api_key": ""}, True),
    ],
)
def test_any_real_provider_keeps_the_simulator_out(given: dict[str, object], simulator: bool) -> None:
    assert choose(bare(**given)).simulator is simulator
    assert choose(bare(**given), force_simulator=True).simulator


def test_the_note_names_the_real_provider_and_no_key() -> None:
    note = choose(bare(openai_api_key="sk-real", openai_base_url="https://u:pw@llm.example/v1")).provider_note
    assert "https://***@llm.example/v1" in note
    assert "sk-real" not in note
    assert "pw" not in note


def test_what_the_user_runs_is_not_started(home: StackHome, tmp_path: Path) -> None:
    settings = bare(
        cache_redis_url="redis://cache:6379/0", state_redis_url="redis://state:6379/0", prefect_api_url="http://p/api"
    )
    names = table(home, settings, choose(settings), tmp_path)
    assert not {"cache-redis", "state-redis", "prefect"} & names.keys()
    assert {"mlflow", "gateway", "worker", "simulator"} <= names.keys()
    assert names["work-pool"].after == ()


@pytest.mark.parametrize("flags", list(product([True, False], repeat=5)))
def test_every_combination_is_a_table_that_can_be_started(
    home: StackHome, tmp_path: Path, flags: tuple[bool, bool, bool, bool, bool]
) -> None:
    choices = Choices(*flags, provider_note="")
    assert stop_order(list(table(home, bare(), choices, tmp_path).values()))


def test_the_two_redis_servers_have_their_policies_and_folders(home: StackHome, tmp_path: Path) -> None:
    names = table(home, bare(), choose(bare()), tmp_path)
    cache, state = " ".join(names["cache-redis"].argv), " ".join(names["state-redis"].argv)
    assert "--maxmemory 256mb --maxmemory-policy allkeys-lru" in cache
    assert "--appendonly no" in cache
    assert "--appendonly yes --appendfsync everysec --maxmemory-policy noeviction" in state
    assert f"--dir {home.root}/cache-redis" in cache
    assert f"--dir {home.root}/state-redis" in state


def test_a_gateway_port_that_was_asked_for_is_kept_or_refused(tmp_path: Path) -> None:
    settings = bare(port=9123)
    taken = PortBook(tmp_path, lambda port: port != 9123)
    with pytest.raises(Exception, match="port 9123 for the gateway is taken"):
        choose_addresses(settings, choose(settings), taken)


def test_services_of_a_simulated_stack_never_see_the_users_key(home: StackHome, tmp_path: Path) -> None:
    settings = bare(openai_api_key="sk-real")
    choices = choose(settings, force_simulator=True)
    at = choose_addresses(settings, choices, PortBook(tmp_path, lambda _port: True))
    environment = command_environment(settings, choices, at, home)
    shell = {
        "OPENAI_API_KEY": "sk-real",
        "PREFECT_API_KEY": "pnu",
        "MLFLOW_EXPERIMENT_ID": "7",
        "PREFECT_API_URL": "https://cloud/api",
        "PATH": "/bin",
    }
    seen = service_environment(shell, environment, tmp_path)
    assert seen["OPENAI_API_KEY"] == seen["ANTHROPIC_API_KEY"] == "simulator"
    assert seen["PROMPTYARD_OPENAI_BASE_URL"] == f"{at.simulator}/v1"
    assert seen["PROMPTYARD_ANTHROPIC_BASE_URL"] == at.simulator
    assert seen["PREFECT_API_URL"] == at.prefect_api
    assert seen["PROMPTYARD_HOME"] == str(home.root)
    assert seen["PATH"] == "/bin"
    assert not {"PREFECT_API_KEY", "MLFLOW_EXPERIMENT_ID"} & seen.keys()
    assert "PYTHONPATH" not in seen


def test_a_real_key_is_not_written_into_the_stacks_environment(home: StackHome, tmp_path: Path) -> None:
    settings = bare(openai_api_key="sk-real")
    choices = choose(settings)
    at = choose_addresses(settings, choices, PortBook(tmp_path, lambda _port: True))
    environment = command_environment(settings, choices, at, home)
    assert "sk-real" not in environment.values()
    assert not set(SHELL_VARIABLES) & environment.keys()
    assert "simulator" not in shown_urls(choices, at)


def test_a_shell_that_points_elsewhere_is_warned() -> None:
    notes = odd_addresses(
        {"PREFECT_API_URL": "https://me:pw@cloud/api"}, {"PREFECT_API_URL": "http://127.0.0.1:4200/api"}
    )
    assert len(notes) == 1
    assert "PREFECT_API_URL" in notes[0]
    assert "pw" not in notes[0]
    assert odd_addresses({"PREFECT_API_URL": "x"}, {"PREFECT_API_URL": "x"}) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:secret@host:6379/0", "redis://***@host:6379/0"),
        ("https://a@b:c@host/v1", "https://***@host/v1"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(("chosen", "sent"), [("", "mlflow"), ("http://127.0.0.1:4318/v1/traces", "")])
def test_traces_go_to_mlflow_unless_they_have_a_place(chosen: str, sent: str, home: StackHome, tmp_path: Path) -> None:
    settings = bare(otlp_endpoint=chosen)
    choices = choose(settings)
    at = choose_addresses(settings, choices, PortBook(tmp_path, lambda _port: True))
    environment = command_environment(settings, choices, at, home)
    assert environment.get("PROMPTYARD_OTLP_ENDPOINT") == (f"{at.mlflow}/v1/traces" if sent else None)
