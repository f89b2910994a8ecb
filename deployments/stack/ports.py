"""Which ports the stack uses: the usual ones when they are free, others when they are not."""

import fcntl
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from deployments.stack.errors import StackError

LOOPBACK = "127.0.0.1"


class PortBook:
    """Chooses ports and keeps them reserved until ``close``.

    A server binds its port only seconds after it was chosen, so a port that is free now is not enough: two stacks that
    start together would take the same one. Each choice therefore holds a lock file that all stacks of this user see.
    """

    def __init__(self, folder: Path | None = None, is_free: Callable[[int], bool] | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir()) / f"promptyard-ports-{os.getuid()}"
        self._is_free = is_free or can_bind
        self._held: dict[int, int] = {}

    def choose(self, usual: int, what: str, *, variable: str = "") -> int:
        """``usual`` when nobody has it, else any free port.

        With ``variable``, the user asked for exactly this port: raises StackError when it is taken.
        """
        if self._take(usual):
            return usual
        if variable:
            raise StackError(
                f"port {usual} for the {what} is taken",
                hint=f"Stop what listens there, or change {variable} (without it, a free port is chosen).",
            )
        for _ in range(50):
            port = _any_port()
            if self._take(port):
                return port
        raise StackError(f"no free port was found for the {what}", hint="Close some programs and try again.")

    def close(self) -> None:
        """Give the reservations back."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _take(self, port: int) -> bool:
        if port in self._held or not self._is_free(port):
            return False
        self._folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._held[port] = descriptor
        return True


def can_bind(port: int) -> bool:
    """Whether a server could listen on this port of the loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
