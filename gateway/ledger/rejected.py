"""Where records go that can never become a row, so that they block nobody and can still be looked at."""

import base64
from pathlib import Path

import msgspec

FOLDER = "rejected"


class Rejection(msgspec.Struct, frozen=True):
    """A line as it was found, and why it was refused."""

    line: bytes
    reason: str


class RejectedRecords:
    """Appends to one file a spool in ``folder``. Beyond ``max_bytes`` in all, rejections are only counted."""

    def __init__(self, folder: Path, max_bytes: int = 64_000_000) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self.count = 0
        """Rejections since the start of the process; a crash may make one count twice, never hide one."""

    def keep(self, spool: str, rejections: list[Rejection], at: float) -> None:
        """Each as one JSON line: ``at``, ``reason`` and the line in base 64, for it may be anything. ``OSError``."""
        if not rejections:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = sum(path.stat().st_size for path in self._folder.iterdir())
        with (self._folder / f"{spool}.jsonl").open("ab") as file:
            for rejection in rejections:
                entry = {"at": at, "reason": rejection.reason, "line": base64.b64encode(rejection.line).decode()}
                encoded = msgspec.json.encode(entry) + b"\n"
                held += len(encoded)
                if held <= self._max_bytes:
                    file.write(encoded)
        self.count += len(rejections)
