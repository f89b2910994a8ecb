"""Services of a few milliseconds, each with one habit, and a supervisor for them that a test may kill."""

import signal
import sys
from pathlib import Path

from deployments.stack.errors import AlreadyRunning
from deployments.stack.home import StackHome
from deployments.stack.lifecycle import Plan, StopRequest, run_stack
from deployments.stack.service import NEVER, Exits, LogLine, Ready, Restart, Service

FAST = Restart(attempts=2, within=60.0, delay=0.01)
READY = LogLine("ready")
_SPEAK = "import sys, time, os, signal, subprocess; print('ready', flush=True); "


def service(
    name: str,
    code: str,
    *,
    after: tuple[str, ...] = (),
    ready: Ready = READY,
    restart: Restart = NEVER,
    grace: float = 2.0,
    patience: float = 20.0,
) -> Service:
    return Service(
        name,
        (sys.executable, "-I", "-S", "-c", code),
        ready,
        after=after,
        restart=restart,
        grace=grace,
        patience=patience,
    )


def steady(name: str, after: tuple[str, ...] = (), restart: Restart = NEVER) -> Service:
    """Says that it is ready and stays."""
    return service(name, _SPEAK + "time.sleep(600)", after=after, restart=restart)


def job(name: str, code: str = "pass", after: tuple[str, ...] = ()) -> Service:
    return service(name, code, after=after, ready=Exits())


def stubborn(name: str) -> Service:
    """Ignores SIGTERM."""
    return service(name, "import signal; signal.signal(15, signal.SIG_IGN); " + _SPEAK + "time.sleep(600)", grace=0.2)


def parent(name: str, pid_file: Path) -> Service:
    """Has a child in a session of its own that ignores SIGTERM."""
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    code = (
        "import subprocess, sys, time; "
        f"child = subprocess.Popen([sys.executable, '-I', '-S', '-c', {child!r}], start_new_session=True); "
        f"open({str(pid_file)!r}, 'w').write(str(child.pid)); print('ready', flush=True); time.sleep(600)"
    )
    return service(name, code)


def crashes_once(name: str, memory: Path, restart: Restart) -> Service:
    """Becomes ready and dies the first time; stays the second time."""
    code = (
        f"import os, sys, time; first = not os.path.exists({str(memory)!r}); open({str(memory)!r}, 'w').close(); "
        "print('ready', flush=True); time.sleep(0.4 if first else 600); sys.exit(7)"
    )
    return service(name, code, restart=restart)


def main(root: str) -> int:
    """A supervisor of three services; exit status 9 when another one holds the home."""
    home, stop = StackHome.at(Path(root)), StopRequest()
    signal.signal(signal.SIGTERM, stop.ask)
    home.root.mkdir(exist_ok=True)
    table = [steady("one"), stubborn("two"), parent("three", home.root / "grandchild")]
    try:
        run_stack(home, lambda _ports: Plan(table, environ={}), lambda _state: None, stop)
    except AlreadyRunning:
        return 9
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
