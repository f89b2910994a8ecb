"""``stack.json``: what runs, where, and under which pids. Written whole and swapped in, so a reader never sees half."""

import os
from collections.abc import MutableMapping
from enum import StrEnum
from pathlib import Path

import msgspec

from deployments.stack.home import StackHome
from deployments.stack.processes import ProcessIdentity


class Phase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Status(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DONE = "done"
    RESTARTING = "restarting"
    CRASHED = "crashed"
    STOPPED = "stopped"


class ServiceState(msgspec.Struct, frozen=True, kw_only=True):
    """One service; times are seconds since the epoch. The pid is also the number of its process group."""

    name: str
    status: Status = Status.WAITING
    process: ProcessIdentity | None = None
    log: str = ""
    grace: float = 5.0
    started_at: float | None = None
    ready_at: float | None = None
    restarts: int = 0
    exit_code: int | None = None
    detail: str = ""


class StackState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole stack. ``environment`` is what other commands of this home need; it may hold passwords of servers that
    the user named, so the file is readable by its owner only and ``environment`` is never printed."""

    stack_id: str
    home: str
    phase: Phase
    supervisor: ProcessIdentity
    started_at: float
    ready_at: float | None = None
    urls: dict[str, str] = {}
    notes: list[str] = []
    environment: dict[str, str] = {}
    services: list[ServiceState] = []
    failure: str = ""
    hint: str = ""

    def __repr__(self) -> str:
        return f"StackState(home={self.home!r}, phase={self.phase.value!r})"


def load_stack(home: Path | StackHome) -> StackState | None:
    """What was last written in this home; None when nothing was, or nothing that can be read."""
    home = home if isinstance(home, StackHome) else StackHome.at(home)
    try:
        return msgspec.json.decode(home.state_file.read_bytes(), type=StackState)
    except (OSError, msgspec.DecodeError):
        return None


def save_stack(home: StackHome, state: StackState) -> None:
    """Swap the new state in (mode 0600). Raises OSError when the disk refuses."""
    draft = home.state_file.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(state), indent=2))
    draft.replace(home.state_file)


def apply_environment(state: StackState | None, environ: MutableMapping[str, str] | None = None) -> None:
    """Point this process at the stack: PREFECT_API_URL, MLFLOW_TRACKING_URI and the PROMPTYARD_* addresses.

    What is already set (and not empty) wins. A stack that was stopped, or never came up, says nothing.
    """
    if state is None or state.phase in (Phase.STOPPED, Phase.FAILED):
        return
    target = os.environ if environ is None else environ
    for name, value in state.environment.items():
        if not target.get(name):
            target[name] = value
