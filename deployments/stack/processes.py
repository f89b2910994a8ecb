"""Which processes exist, told apart by pid *and* start, so that a recycled pid is never taken for the old one.

Linux reads ``/proc`` (proc(5)); other systems ask ``ps``.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessIdentity:
    """A process beyond doubt: ``started`` differs for every process that ever had this pid, reboots included."""

    pid: int
    started: str


@dataclass(frozen=True)
class Running:
    """A process that lives (zombies do not)."""

    identity: ProcessIdentity
    group: int


def identify(pid: int) -> ProcessIdentity | None:
    """Who has this pid now; None when nobody lives there."""
    found = _read(pid) if sys.platform == "linux" else next((p for p in _ask_ps() if p.identity.pid == pid), None)
    return found.identity if found else None


def is_alive(identity: ProcessIdentity | None) -> bool:
    return identity is not None and identify(identity.pid) == identity


def running() -> list[Running]:
    """Every process that lives now and may be seen."""
    if sys.platform != "linux":
        return list(_ask_ps())
    pids = (int(entry) for entry in os.listdir(_PROC) if entry.isdigit())
    return [process for pid in pids if (process := _read(pid))]


def carries(pid: int, name: str, value: str) -> bool:
    """Whether the process was started with ``name=value`` in its environment. Other users' processes never do."""
    wanted = f"{name}={value}"
    try:
        if sys.platform == "linux":
            return wanted.encode() in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
        return wanted in _ps("-E", "-ww", "-p", str(pid), "-o", "command=").split()
    except OSError:
        return False


def _read(pid: int) -> Running | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name before it may hold spaces and brackets
    state, group, ticks = fields[0], int(fields[2]), fields[19]
    if state in "ZX":
        return None
    return Running(ProcessIdentity(pid, f"{_boot()}-{ticks}"), group)


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return "boot"


def _ask_ps() -> Iterator[Running]:
    for line in _ps("-axo", "pid=,pgid=,stat=,lstart=").splitlines():
        pid, group, state, started = line.split(None, 3)
        if not state.startswith("Z"):
            yield Running(ProcessIdentity(int(pid), started.strip()), int(group))


def _ps(*arguments: str) -> str:
    done = subprocess.run(["/bin/ps", *arguments], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    return done.stdout
