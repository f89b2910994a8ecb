"""The ledger-writer as a process: ships, posts, ends on SIGTERM, and leaves when it is not needed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import Engine

from gateway.errors import StorageUnavailable
from gateway.ledger.service import BUSY_EXIT, repeat
from tests.gateway.ledger.ledger_values import append, spool_at, spools_in, stored


def start(home: Path, database_url: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PROMPTYARD_HOME": str(home), "PROMPTYARD_DATABASE_URL": database_url}
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.ledger.writer"], env=environment, stderr=subprocess.PIPE, text=True
    )


def test_the_process_ships_what_is_left_when_it_is_told_to_end(
    ledger_url: str, open_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    spool = spool_at(tmp_path / "spool")
    append(spool, "a")
    process = start(tmp_path, ledger_url)
    assert process.stderr
    try:
        assert "ready" in process.stderr.readline()
        second = start(tmp_path, ledger_url)
        _, complaint = second.communicate(timeout=30)
        assert (second.returncode, "Traceback" in complaint) == (BUSY_EXIT, False)
        append(spool, "b")
        spool.close()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert stored(open_engine(ledger_url)) == ["a", "b"]
    assert spools_in(tmp_path / "spool") == []


async def test_the_loop_outlives_an_outage_and_does_not_pause_while_there_is_work() -> None:
    stop = asyncio.Event()
    outcomes: Iterator[int | StorageUnavailable] = iter([3, StorageUnavailable("down"), 2, 1])

    async def work() -> int:
        outcome = next(outcomes, None)
        if outcome is None:
            stop.set()
            return 0
        if isinstance(outcome, StorageUnavailable):
            raise outcome
        return outcome

    await asyncio.wait_for(repeat("it", work, stop, interval=0.001), 10)
    assert list(outcomes) == []
