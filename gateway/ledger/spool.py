"""The worker's side of the ledger: an append-only file that outlives its process."""

import os
import tempfile
import threading
from pathlib import Path

from gateway.clock import Clock, SystemClock
from gateway.errors import StorageUnavailable
from gateway.ledger.lines import Record, encode_line
from gateway.ledger.segments import OWNER_LOCK, segment_path, undelivered_bytes
from gateway.storage.file_lock import FileLock

_RECOUNT_SECONDS = 1.0
_SMALLEST_SEGMENT = 4_096


class SpoolFull(StorageUnavailable):
    """The spool takes no more: its bound is reached (the ledger-writer or SQL is long down), or the disk refuses."""

    code = "ledger_full"
    default_hint = "Start the ledger-writer, or look at why SQL does not answer: see /readyz."


class Spool:
    """Appends records to a folder of its own under ``directory``, held by a lock for as long as the process lives.

    A record is handed to the kernel by one ``write`` before ``append`` returns: it survives ``kill -9`` of the process,
    not a power cut (there is no fsync: the disk's latency would be on every call). Segments rotate by size (bytes) and,
    at the next append, by age (seconds); the ledger-writer deletes them once they are in SQL. Safe to share between
    threads, not between processes.
    """

    def __init__(
        self,
        directory: Path,
        instance: str,
        max_bytes: int,
        *,
        clock: Clock | None = None,
        segment_bytes: int = 8_000_000,
        segment_age: float = 60.0,
    ) -> None:
        """``instance`` only names the folder, which gets a unique suffix. Raises StorageUnavailable."""
        self._clock = clock or SystemClock()
        self._max_bytes = max_bytes
        self._segment_bytes = max(_SMALLEST_SEGMENT, min(segment_bytes, max_bytes // 4))
        self._segment_age = segment_age
        self._guard = threading.Lock()
        self._descriptor: int | None = None
        self._number = 0
        self._written = 0
        self._opened_at = 0.0
        self._undelivered = 0
        self._counted_at = self._clock.monotonic()
        try:
            self.directory, self._lock = _claim(directory, instance)
        except OSError as error:
            raise StorageUnavailable(f"the ledger's spool cannot be made: {error.strerror}") from error

    def append(self, kind: str, record: Record) -> None:
        """Keep one record. Raises SpoolFull, and ``TypeError`` for values that are no JSON."""
        line = encode_line(kind, record)
        with self._guard:
            if self._undelivered + len(line) > self._max_bytes and not self._has_room(len(line)):
                raise SpoolFull(f"the ledger's spool holds its limit of {self._max_bytes} undelivered bytes")
            try:
                self._write(line)
            except OSError as error:
                raise SpoolFull(f"the ledger's spool cannot be written: {error.strerror}") from error
            self._undelivered += len(line)

    def undelivered(self) -> int:
        """Bytes that are not known to be in SQL."""
        with self._guard:
            return self._recount()

    def close(self) -> None:
        """Let the ledger-writer finish and remove the folder. Idempotent; ``append`` raises from now on."""
        with self._guard:
            self._close_segment()
            self._lock.release()
            self._number = -1

    def _write(self, line: bytes) -> None:
        if self._number < 0:
            raise OSError(0, "it is closed")
        descriptor = self._descriptor
        if descriptor is None or self._is_due():
            descriptor = self._open_next()
        written = os.write(descriptor, line)
        self._written += written
        if written != len(line):  # the disk is full: never append to a torn line
            self._close_segment()
            raise OSError(0, "the disk took a part of a record only")

    def _is_due(self) -> bool:
        too_old = self._clock.monotonic() - self._opened_at >= self._segment_age
        return self._written >= self._segment_bytes or (too_old and self._written > 0)

    def _open_next(self) -> int:
        self._close_segment()
        path = segment_path(self.directory, self._number + 1)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._number += 1
        self._written = 0
        self._opened_at = self._clock.monotonic()
        return self._descriptor

    def _close_segment(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _has_room(self, size: int) -> bool:
        if (
            self._clock.monotonic() - self._counted_at >= _RECOUNT_SECONDS
        ):  # a full spool must not cost a listing a call
            self._recount()
        return self._undelivered + size <= self._max_bytes

    def _recount(self) -> int:
        self._undelivered = undelivered_bytes(self.directory)
        self._counted_at = self._clock.monotonic()
        return self._undelivered


def _claim(root: Path, instance: str) -> tuple[Path, FileLock]:
    """A new folder that is locked before the writer can see it, so that it never looks abandoned."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in instance)[:60]
    hidden = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
    lock = FileLock.acquire(hidden / OWNER_LOCK)
    if lock is None:
        raise OSError(0, "its new folder is locked by another process")
    return hidden.rename(root / hidden.name.removeprefix(".")), lock
