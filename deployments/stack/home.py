"""Where a stack keeps what it knows: one folder, laid out here and nowhere else."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from deployments.stack.errors import StackError

MARKER = "PROMPTYARD_STACK_ID"
"""Environment variable that every process of a stack carries, so that none can be lost."""


@dataclass(frozen=True)
class StackHome:
    """The folder of one stack; ``root`` is absolute."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> "StackHome":
        return cls(path.expanduser().resolve())

    @property
    def stack_id(self) -> str:
        """16 hex digits that follow from the path alone: found again even when ``stack.json`` is lost."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:16]

    @property
    def state_file(self) -> Path:
        return self.root / "stack.json"

    @property
    def key_file(self) -> Path:
        """The API key of the command line's own calls (mode 0600)."""
        return self.root / "key"

    @property
    def lock_file(self) -> Path:
        return self.root / "run" / "supervisor.lock"

    @property
    def supervisor_log(self) -> Path:
        return self.root / "logs" / "supervisor.log"

    def log(self, service: str) -> Path:
        return self.root / "logs" / f"{service}.log"

    def data(self, service: str) -> Path:
        """The service's own folder, made when first asked for."""
        folder = self.root / service
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def prepare(self) -> None:
        """Make the folders. Raises StackError when the disk refuses."""
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self.root, self.root / "logs", self.root / "run"):
                folder.mkdir(mode=0o700, exist_ok=True)  # questions and answers are kept here
            probe = self.root / "run" / f"writable.{os.getpid()}"
            probe.write_bytes(b"promptyard\n")
            probe.unlink()
        except OSError as error:
            raise StackError(
                f"cannot write to {self.root}: {error.strerror or error}",
                hint="Free some space, or name another folder: PROMPTYARD_HOME=/path promptyard up.",
            ) from error
