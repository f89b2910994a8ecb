import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.stack.home import MARKER, StackHome
from deployments.stack.processes import carries, running
from deployments.stack.stopping import sweep

REPOSITORY = Path(__file__).resolve().parents[3]


def processes_of(home: StackHome) -> list[int]:
    """The pids of everything that lives and carries the stack's id."""
    return [p.identity.pid for p in running() if carries(p.identity.pid, MARKER, home.stack_id)]


def wait_until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Real processes take real time; a test waits for what it needs and no longer."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[StackHome]:
    found = StackHome.at(tmp_path / "home")
    yield found
    sweep(found.stack_id, grace=0.0)


@pytest.fixture
def start_supervisor(home: StackHome) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    """Starts the supervisor of tiny_services in a process of its own."""
    children: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.deployments.stack.tiny_services", str(home.root)]
        children.append(subprocess.Popen(command, cwd=REPOSITORY))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait(timeout=10)
