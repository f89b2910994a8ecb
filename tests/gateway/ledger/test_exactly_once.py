"""Whatever the order of appends, deaths, outages and crashes: each record becomes one row, and none is lost."""

import contextlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable
from gateway.ledger.lines import encode_line
from gateway.ledger.records import CALL
from gateway.ledger.segments import Position, store_position
from gateway.ledger.spool import Spool
from gateway.ledger.writer import LedgerWriter
from gateway.settings import SqlSettings
from gateway.storage.engine import make_engine
from tests.gateway.ledger.ledger_values import append, record, spool_at, spools_in, stored


class Crash(Exception):
    """Stands for the writer's sudden end."""


class SpoolsAndWriter(RuleBasedStateMachine):
    """Two workers that come and go, one writer that fails at every seam, SQL that answers or does not."""

    ready: Path

    @initialize()
    def start(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="promptyard-spools-"))
        shutil.copy(self.ready, self.home / "ledger.db")
        self.engine = make_engine(f"sqlite:///{self.home / 'ledger.db'}", SqlSettings(sql_timeout=0.01))
        self.clock = ManualClock()
        self.spools: dict[int, Spool] = {}
        self.sequence = 0
        self.acknowledged: set[str] = set()

    def teardown(self) -> None:
        if not hasattr(self, "home"):
            return
        try:
            for worker in list(self.spools):
                self.worker_dies(worker, cut=0)
            with LedgerWriter(self.engine, self.home / "spool", self.clock) as writer:
                while writer.ship():
                    pass
            assert set(stored(self.engine)) == self.acknowledged
            assert spools_in(self.home / "spool") == []
        finally:
            self.engine.dispose()
            shutil.rmtree(self.home)

    def identity(self) -> str:
        self.sequence += 1
        return f"call_{self.sequence:04}"

    @rule(worker=st.integers(0, 1), count=st.integers(1, 6))
    def worker_appends(self, worker: int, count: int) -> None:
        if worker not in self.spools:
            self.spools[worker] = spool_at(self.home / "spool", clock=self.clock, segment_bytes=4_096)
        for _ in range(count):
            identity = self.identity()
            append(self.spools[worker], identity)
            self.acknowledged.add(identity)

    @rule(seconds=st.sampled_from([1, 100]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(worker=st.integers(0, 1), cut=st.integers(0, 400))
    def worker_dies(self, worker: int, cut: int) -> None:
        """In the middle of a write, of which ``cut`` bytes arrived."""
        spool = self.spools.pop(worker, None)
        if spool is None:
            return
        if cut:
            with max(spool.directory.glob("*.segment")).open("ab") as file:
                file.write(encode_line(CALL, record(self.identity()))[:cut])
        spool.close()  # the kernel closes its files and drops its lock

    @rule(seam=st.sampled_from(["none", "before the position", "after the position", "sql"]), rounds=st.integers(0, 3))
    def writer_lives_and_crashes(self, seam: str, rounds: int) -> None:
        left = rounds

        def store(directory: Path, position: Position) -> None:
            nonlocal left
            left -= 1
            if seam == "before the position" and left < 0:
                raise Crash
            store_position(directory, position)
            if seam == "after the position" and left < 0:
                raise Crash

        with contextlib.ExitStack() as stack:
            writer = stack.enter_context(LedgerWriter(self.engine, self.home / "spool", self.clock, store=store))
            if seam == "sql":
                blocker = stack.enter_context(self.engine.connect())
                blocker.exec_driver_sql("SELECT 1")  # its BEGIN IMMEDIATE keeps all other writers out
            with contextlib.suppress(Crash, StorageUnavailable):
                writer.ship()

    @invariant()
    def nothing_is_invented(self) -> None:
        if hasattr(self, "home"):
            assert set(stored(self.engine)) <= self.acknowledged


def test_each_record_is_shipped_exactly_once(migrated_sqlite: Path) -> None:
    class Machine(SpoolsAndWriter):
        ready = migrated_sqlite

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
