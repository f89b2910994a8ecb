"""The spool keeps what it took, says when it cannot, and survives its process."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable
from gateway.ledger.segments import segment_numbers
from gateway.ledger.spool import SpoolFull
from gateway.ledger.writer import LedgerWriter
from tests.gateway.ledger.ledger_values import append, spool_at, spools_in, stored

_APPENDER = """
import sys
from pathlib import Path
from tests.gateway.ledger.ledger_values import append, spool_at
spool = spool_at(Path(sys.argv[1]), segment_bytes=20_000)
number = 0
while True:
    append(spool, f"call_{number}")
    print(number, flush=True)
    number += 1
"""


def test_kill_minus_nine_loses_no_acknowledged_record(
    tmp_path: Path, ledger_url: str, open_engine: Callable[..., Engine], clock: ManualClock
) -> None:
    process = subprocess.Popen([sys.executable, "-c", _APPENDER, str(tmp_path / "spool")], stdout=subprocess.PIPE)
    assert process.stdout
    acknowledged = [int(process.stdout.readline()) for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().split(b"\n")[:-1]]
    process.wait(10)
    engine = open_engine(ledger_url)
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer:
        while writer.ship():
            pass
        assert writer.rejected.count <= 1  # a line torn by the kill was never acknowledged
    assert {f"call_{number}" for number in acknowledged} <= set(stored(engine))
    assert spools_in(tmp_path / "spool") == []


def test_segments_rotate_by_size_and_by_age(tmp_path: Path, clock: ManualClock) -> None:
    spool = spool_at(tmp_path, clock=clock, segment_bytes=4_096, segment_age=60.0)
    append(spool, "a")
    append(spool, "b")
    assert segment_numbers(spool.directory) == [1]
    append(spool, *(f"c{n}" for n in range(20)))
    grown = len(segment_numbers(spool.directory))
    assert grown > 1
    clock.advance(61)
    append(spool, "i")
    assert len(segment_numbers(spool.directory)) == grown + 1


def test_the_bound_refuses_and_delivery_frees(
    tmp_path: Path, ledger_url: str, open_engine: Callable[..., Engine], clock: ManualClock
) -> None:
    engine = open_engine(ledger_url)
    spool = spool_at(tmp_path, max_bytes=50_000, clock=clock)
    taken: list[str] = []
    with contextlib.suppress(SpoolFull):
        while len(taken) < 10_000:
            append(spool, f"call_{len(taken)}")
            taken.append(f"call_{len(taken)}")
    assert 40_000 < spool.undelivered() <= 50_000
    with LedgerWriter(engine, tmp_path, clock) as writer:
        while writer.ship():
            pass
        clock.advance(1.0)
        append(spool, "call_after")
        writer.ship()
    assert stored(engine) == sorted([*taken, "call_after"])
    assert spool.undelivered() == 0


def test_spools_of_one_name_do_not_meet(tmp_path: Path) -> None:
    first, second = spool_at(tmp_path, "same"), spool_at(tmp_path, "same")
    append(first, "a")
    append(second, "b")
    assert len(spools_in(tmp_path)) == 2


@pytest.mark.parametrize("instance", ["../../etc", "a/b", "", "x" * 500])
def test_any_instance_name_stays_inside_the_folder(tmp_path: Path, instance: str) -> None:
    assert spool_at(tmp_path / "spool", instance).directory.parent == tmp_path / "spool"


def test_a_closed_spool_and_a_folder_in_the_way_are_reported(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    spool.close()
    spool.close()
    with pytest.raises(StorageUnavailable):
        append(spool, "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable):
        spool_at(tmp_path / "file" / "spool")


def test_a_disk_that_refuses_is_reported_and_does_not_spoil_what_follows(tmp_path: Path, clock: ManualClock) -> None:
    spool = spool_at(tmp_path, clock=clock)
    append(spool, "a")
    moved = tmp_path / "moved"
    spool.directory.rename(moved)
    clock.advance(61)  # the next append needs a new segment, whose folder is gone
    with pytest.raises(SpoolFull):
        append(spool, "b")
    os.rename(moved, spool.directory)
    append(spool, "c")
    assert segment_numbers(spool.directory) == [1, 2]
