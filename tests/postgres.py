"""A throw-away PostgreSQL server for tests, on a free port of the loopback interface."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

_STARTUP = 30.0


@dataclass(frozen=True)
class PostgresServer:
    """A running server; everybody on loopback is its superuser ``promptyard``."""

    port: int
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://promptyard@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """One statement outside a transaction, such as ``CREATE DATABASE``."""
        with psycopg.connect(_conninfo(self.port, database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def stop(self) -> None:
        """End the server and remove its files."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)


def why_unavailable() -> str | None:
    """Why no server can be started here, or None."""
    if _binary("initdb") is None or _binary("postgres") is None:
        return "PostgreSQL's server programs (initdb, postgres) are not installed"
    if os.geteuid() == 0 and _unprivileged() is None:
        return "PostgreSQL refuses to run as root, and there is neither a user 'postgres' nor 'nobody' to run it as"
    return None


def start_postgres() -> PostgresServer:
    """Start a server that forgets everything on ``stop``. Raises ``RuntimeError`` with the tail of its log."""
    initdb, postgres = _binary("initdb"), _binary("postgres")
    assert initdb
    assert postgres
    directory = Path(tempfile.mkdtemp(prefix="promptyard-postgres-"))  # pytest's own folders are closed to other users
    user = _unprivileged() if os.geteuid() == 0 else None
    if user:
        os.chown(directory, user.pw_uid, user.pw_gid)
    identity: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    data, log = directory / "data", directory / "log"
    try:
        subprocess.run(
            [initdb, "-D", data, "-U", "promptyard", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True,
            capture_output=True,
            timeout=60,
            cwd=directory,
            **identity,
        )
        for _ in range(3):  # another process may take the port between our look and the server's bind
            port = _free_port()
            options = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB"]
            arguments = [argument for option in options for argument in ("-c", option)]
            with log.open("ab") as sink:
                process = subprocess.Popen(
                    [
                        *_ends_with_us(),
                        postgres,
                        "-D",
                        data,
                        "-k",
                        directory,
                        "-h",
                        "127.0.0.1",
                        "-p",
                        str(port),
                        *arguments,
                    ],
                    stdout=sink,
                    stderr=sink,
                    cwd=directory,
                    **identity,
                )
            if _answers(port, process):
                return PostgresServer(port, directory, process)
            process.kill()
            process.wait(10)
        raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}")
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _ends_with_us() -> list[str]:
    """Where Linux allows, a killed test run takes its server along (SIGINT is PostgreSQL's fast shutdown)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT"] if setpriv else []


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _STARTUP
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(_conninfo(port, "postgres")):
            return True
        time.sleep(0.05)  # a server's start has no event to wait for
    return False


def _conninfo(port: int, database: str) -> str:
    return f"host=127.0.0.1 port={port} user=promptyard dbname={database} connect_timeout=5"


def _binary(name: str) -> str | None:
    found = shutil.which(name)
    if found:
        return found
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(debian[-1]) if debian else None


def _unprivileged() -> pwd.struct_passwd | None:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
