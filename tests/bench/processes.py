"""The processes of a measurement, and what the kernel says they used (``/proc``, Linux only)."""

import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Program:
    """``python -m <module>`` with a log of its own."""

    def __init__(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._env = os.environ | dict(env or {})
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the program)
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_it_answers(self, url: str, within: float = 180) -> None:
        """Raises AssertionError with the tail of its log."""
        deadline = time.monotonic() + within
        while (answer := get(url)) is None or answer[0] != 200:
            running = self._process.poll() is None
            assert running, f"{self._command[2]} ended:\n{self.log()[-2000:]}"
            assert time.monotonic() < deadline, f"{self._command[2]} is silent:\n{self.log()[-2000:]}"
            time.sleep(0.1)

    def kill(self) -> None:
        """As ``kill -9``."""
        self._process.kill()
        self._process.wait(10)

    def terminate(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()

    def start_again(self) -> None:
        self._process = self._start()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._env, stdout=self._log, stderr=self._log)


def get(url: str, timeout: float = 1.0) -> tuple[int, bytes] | None:
    """Status and body over a connection of its own, None while there is no answer. Cheap enough to ask often."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads, in steps of 10 ms; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def is_running(pid: int) -> bool:
    """Not for one that has ended and whose parent has not looked yet."""
    return bool(_command_line(pid))


def workers(parent: int) -> list[int]:
    """The process ids of a gateway's workers, without the child that tracks their parent's resources."""
    return [pid for pid in _children(parent) if b"spawn_main" in _command_line(pid)]


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
