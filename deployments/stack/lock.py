"""One supervisor per home: the kernel holds the lock and drops it with the process, however that ends."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments.stack.errors import AlreadyRunning
from deployments.stack.processes import ProcessIdentity, identify, is_alive


@contextmanager
def supervisor_lock(
    path: Path,
    *,
    patience: float = 0.5,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold the home. Raises AlreadyRunning when somebody else still does after ``patience`` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        begun = now()
        while not _try(descriptor):
            if now() - begun >= patience:
                raise AlreadyRunning("a stack already runs here, or is being started or stopped")
            wait(0.05)
        owner = identify(os.getpid())
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "started": owner.started if owner else ""}).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def lock_owner(path: Path) -> ProcessIdentity | None:
    """The living process that holds the home, read without touching the lock."""
    try:
        owner = ProcessIdentity(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return owner if is_alive(owner) else None


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
