"""A gateway as a process of its own, ``python -m gateway.app``, for tests that kill it."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import httpx

from gateway.settings import Settings
from tests.gateway_stack import PROVIDER_KEY, until
from tests.servers import free_port


class GatewayProcess:
    """``kill`` is ``kill -9``; ``terminate`` lets it finish."""

    def __init__(self, settings: Settings) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway.app"],
            env=os.environ | environment(settings, port),
            stdout=self._log,
            stderr=self._log,
        )

    def wait_until_it_answers(self) -> None:
        until("the gateway answers", self._answers, within=180)  # a busy machine imports slowly

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def terminate(self) -> int:
        """The exit code."""
        self._process.terminate()
        return self._process.wait(20)

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log()
        try:
            return httpx.get(f"{self.url}/healthz", timeout=1).status_code == 200
        except httpx.TransportError:
            return False


def environment(settings: Settings, port: int) -> dict[str, str]:
    """The variables that make the same settings in another process."""
    return {
        "PROMPTYARD_HOME": str(settings.home),
        "PROMPTYARD_PORT": str(port),
        "PROMPTYARD_DATABASE_URL": settings.database_url,
        "PROMPTYARD_CACHE_REDIS_URL": settings.cache_redis_url,
        "PROMPTYARD_STATE_REDIS_URL": settings.state_redis_url,
        "PROMPTYARD_REDIS_TIMEOUT": str(settings.redis_timeout),
        "PROMPTYARD_OPENAI_BASE_URL": settings.openai_base_url,
        "PROMPTYARD_ANTHROPIC_BASE_URL": settings.anthropic_base_url,
        "OPENAI_API_KEY": PROVIDER_KEY,
        "ANTHROPIC_API_KEY": PROVIDER_KEY,
    }


@contextlib.contextmanager
def gateway_process(settings: Settings) -> Iterator[GatewayProcess]:
    process = GatewayProcess(settings)
    try:
        process.wait_until_it_answers()
        yield process
    finally:
        process.kill()
