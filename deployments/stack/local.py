"""Joins it all: from the settings to a plan that the lifecycle can run."""

import os
from pathlib import Path

import deployments
from deployments.stack.addresses import choose_addresses, command_environment, service_environment, shown_urls
from deployments.stack.choices import choose, find_redis_server, odd_addresses
from deployments.stack.home import StackHome
from deployments.stack.lifecycle import Plan
from deployments.stack.ports import PortBook
from deployments.stack.services import Programs, local_services
from gateway.settings import Settings

CHECKOUT = Path(deployments.__file__).resolve().parent.parent
"""The folder that holds the packages: the repository, or site-packages when installed as a wheel."""


def plan_local_stack(settings: Settings, home: StackHome, ports: PortBook, *, force_simulator: bool = False) -> Plan:
    """Raises StackError when a port that was asked for is taken or no redis-server exists."""
    choices = choose(settings, force_simulator=force_simulator)
    at = choose_addresses(settings, choices, ports)
    needs_redis = choices.cache_redis or choices.state_redis
    prefect_file = CHECKOUT / "deployments" / "prefect.yaml"
    programs = Programs(
        redis=find_redis_server() if needs_redis else None,
        prefect_file=prefect_file if prefect_file.exists() else None,
    )
    for folder in ("cache-redis", "state-redis", "prefect", "mlflow"):
        home.data(folder)
    environment = command_environment(settings, choices, at, home)
    environ = service_environment(os.environ, environment, CHECKOUT)
    return Plan(
        services=local_services(home, choices, at, programs),
        environ=environ,
        environment=environment,
        urls=shown_urls(choices, at),
        notes=[f"Model providers: {choices.provider_note}.", *odd_addresses(os.environ, environment)],
        directory=CHECKOUT if (CHECKOUT / "pyproject.toml").exists() else home.root,
    )
