"""The ledger-writer: ships the workers' spools to SQL, one process at a time. ``python -m gateway.ledger.writer``."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.errors import Conflict, StorageUnavailable
from gateway.ledger.rejected import FOLDER, RejectedRecords
from gateway.ledger.segments import (
    OWNER_LOCK,
    Position,
    discard_delivered,
    load_position,
    read_batch,
    remove_spool,
    segment_numbers,
    store_position,
)
from gateway.ledger.sink import deliver
from gateway.storage.file_lock import FileLock

WRITER_LOCK = "writer.lock"
_BATCH_LINES = 500
_BATCH_BYTES = 8_000_000
_BATCHES_A_SPOOL = 10

_log = logging.getLogger(__name__)


class WriterBusy(Conflict):
    """Another ledger-writer works on these spools."""

    code = "writer_busy"
    default_hint = "One ledger-writer serves all workers of a spool folder: this one is not needed."


class LedgerWriter:
    """Holds the writer's lock on ``spool_root`` from its construction until ``close``.

    Each record becomes a row exactly once: rows are inserted by primary key and committed, then the position is stored,
    then finished segments are deleted; a crash anywhere in between repeats an insert that changes nothing.
    """

    def __init__(
        self,
        engine: Engine,
        spool_root: Path,
        clock: Clock,
        *,
        store: Callable[[Path, Position], None] = store_position,
        shipped: Callable[[Sequence[bytes]], None] = lambda lines: None,
    ) -> None:
        """``shipped`` is told of lines once they are done with: each at most once, and it must not raise.

        Raises WriterBusy, or StorageUnavailable when the folder cannot be used.
        """
        self._engine = engine
        self._root = spool_root
        self._clock = clock
        self._store = store
        self._shipped = shipped
        self.rejected = RejectedRecords(spool_root / FOLDER)
        try:
            spool_root.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = FileLock.acquire(spool_root / WRITER_LOCK)
        except OSError as error:
            raise StorageUnavailable(f"the ledger's spools cannot be reached: {error.strerror}") from error
        if lock is None:
            raise WriterBusy("another ledger-writer holds the lock")
        self._lock = lock

    def ship(self) -> int:
        """One bounded round over all spools, those of dead workers included; returns how many lines were finished.

        Raises StorageUnavailable when SQL or a disk does not answer; what was not delivered stays where it is.
        """
        finished = 0
        trouble: OSError | None = None
        for directory in self._spools():
            try:
                finished += self._ship_spool(directory)
            except OSError as error:  # one folder that cannot be used must not hold up the others
                trouble = error
        if trouble and not finished:
            raise StorageUnavailable(f"the ledger's spools cannot be used: {trouble.strerror}") from trouble
        return finished

    def close(self) -> None:
        """Idempotent."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _spools(self) -> list[Path]:
        try:
            folders = [path for path in self._root.iterdir() if path.is_dir()]
        except OSError as error:
            raise StorageUnavailable(f"the ledger's spools cannot be listed: {error.strerror}") from error
        return sorted(path for path in folders if path.name != FOLDER and not path.name.startswith("."))

    def _ship_spool(self, directory: Path) -> int:
        abandoned = FileLock.acquire(directory / OWNER_LOCK)
        try:
            finished = self._drain(directory, sealed=abandoned is not None)
            if abandoned and not segment_numbers(directory):
                remove_spool(directory)
            return finished
        finally:
            if abandoned:
                abandoned.release()

    def _drain(self, directory: Path, *, sealed: bool) -> int:
        finished = 0
        position = load_position(directory)
        discard_delivered(directory, position)
        for _ in range(_BATCHES_A_SPOOL):
            batch = read_batch(directory, position, sealed=sealed, max_lines=_BATCH_LINES, max_bytes=_BATCH_BYTES)
            if batch.end == position:
                break
            rejections = deliver(self._engine, batch.lines)
            if rejections:
                self.rejected.keep(directory.name, rejections, self._clock.now())
                _log.warning("%d ledger records of %s were rejected: %s", len(rejections), directory.name, FOLDER)
            self._store(directory, batch.end)
            position = batch.end
            self._shipped(batch.lines)
            discard_delivered(directory, position)
            finished += len(batch.lines)
        return finished


if __name__ == "__main__":
    from gateway.ledger.service import main

    main()
