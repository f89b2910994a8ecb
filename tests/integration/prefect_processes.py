"""A Prefect server and a process worker of their own home, each in a session of its own that is ended as a whole."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deployments.stack.prepare_work_pool import create_pool, process_template
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds that anything may take here; on a quiet machine it is a tenth of that."""


@dataclass(frozen=True)
class PrefectYard:
    """A running server; ``api`` ends in ``/api``."""

    api: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return inherited | {
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.home / 'prefect.db'}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "DO_NOT_TRACK": "1",
            "PYTHONPATH": str(ROOT),
        }

    def prefect(self, *arguments: str) -> None:
        """A command that ends. Raises AssertionError with its output."""
        command = [sys.executable, "-m", "prefect", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def worker(self, pool: str) -> Iterator[None]:
        create_pool(self.api, pool, process_template())
        command = [
            "prefect",
            "worker",
            "start",
            "--pool",
            pool,
            "--type",
            "process",
            "--limit",
            "2",
            "--install-policy",
            "never",
        ]
        with _running(self, "worker", command):
            yield

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """The completed runs of a deployment."""
        return list(
            self._post(
                "/flow_runs/filter",
                {
                    "deployments": {"name": {"any_": [deployment]}},
                    "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
                },
            )
        )

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text(errors="replace")[-3000:]

    def healthy(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.api}/health", timeout=5, trust_env=False).is_success
        return False

    def _post(self, path: str, body: Any) -> Any:
        answer = httpx.post(self.api + path, json=body, timeout=30, trust_env=False)
        return answer.raise_for_status().json()


@contextmanager
def prefect_yard(home: Path) -> Iterator[PrefectYard]:
    """A server on a free port, ended afterwards with everything that it started."""
    port = free_port()
    yard = PrefectYard(f"http://127.0.0.1:{port}/api", home)
    command = [
        "deployments.stack.prefect_server",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ui",
        "--analytics-off",
    ]
    with ExitStack() as stack:
        server = stack.enter_context(_running(yard, "server", command))
        until(lambda: yard.healthy() or server.poll() is not None, lambda: yard.log("server"))
        assert server.poll() is None, yard.log("server")
        yield yard


def until(holds: Callable[[], object], otherwise: Callable[[], str]) -> None:
    """Look every half second until it holds. Raises AssertionError after ``PATIENCE``."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.5)  # another process's progress has no event to wait for


@contextmanager
def _running(yard: PrefectYard, name: str, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    with (yard.home / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=yard.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for how in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
        process.wait(10)
