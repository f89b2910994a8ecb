"""A reconcile that dies at any seam is finished by the next one: a single verdict, no block written twice."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

from gateway.clock import ManualClock
from gateway.storage.engine import reading
from gateway.storage.models import ReleaseBlockRow, ReleaseRow
from tasks.releases.reconcile import LEASE_SECONDS
from tasks.releases.stages import Stage
from tests.databases import copy_of, drop
from tests.tasks.releases.blocking_clock import BLOCKED
from tests.tasks.releases.traffic import Quality, around, arrive
from tests.tasks.releases.yard import POLICY, Yard

OpenEngine = Callable[..., Engine]
CASES = [(around(0.95, 0.1), "rolled_back"), (around(0.8, 0.8), "promoted"), (around(0.8, 0.8), "advanced")]
USERS = {"rolled_back": 200, "promoted": 700, "advanced": 60}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the project catches it."""


class Axe:
    """Kills at the n-th seam of an engine, a BEGIN or a COMMIT; the dead do not come back for later ones."""

    def __init__(self, engine: Engine, seam: int) -> None:
        self._left = seam
        event.listen(engine, "begin", self._fall)
        event.listen(engine, "commit", self._fall)

    def _fall(self, _connection: Any) -> None:
        if self._left <= 0:
            raise Killed
        self._left -= 1


def ready(url: str, open_engine: OpenEngine, quality: Quality, kind: str) -> ReleaseRow:
    """A canary of which enough is known for its next move, in a database that can be copied."""
    engine = open_engine(url)
    yard = Yard(engine, ManualClock())
    release = yard.canary(policy={**POLICY, "steps": [50, 60]})
    arrive(yard, release, USERS[kind], quality, random.Random(3))
    engine.dispose()
    return release


def look(engine: Engine) -> list[tuple[int, float, Any]]:
    with reading(engine) as session:
        return [
            (row.seq, row.formed_at, row.body)
            for row in session.scalars(select(ReleaseBlockRow).order_by(ReleaseBlockRow.seq))
        ]


@pytest.mark.parametrize(("quality", "kind"), CASES, ids=[kind for _, kind in CASES])
def test_killed_at_every_seam(
    ledger_url: str, tmp_path: Path, open_engine: OpenEngine, quality: Quality, kind: str
) -> None:
    release = ready(ledger_url, open_engine, quality, kind)
    seam, survived = 0, False
    while not survived:
        url = copy_of(ledger_url, tmp_path, f"seam-{seam}")
        clock = ManualClock()
        clock.advance(200)
        doomed = open_engine(url)
        Axe(doomed, seam)
        try:
            Yard(doomed, clock).advance(release, "the one that dies")
            survived = True
        except Killed:
            seam += 1
        doomed.dispose()
        repaired = Yard(open_engine(url), clock)
        before = look(repaired.engine)
        if not survived:
            clock.advance(LEASE_SECONDS)
            repaired.advance(release, "the next run")
        assert look(repaired.engine)[: len(before)] == before, "a block that was kept is never rewritten"
        verdicts = [one for one in repaired.kinds(release) if one in ("promoted", "rolled_back", "advanced", "closed")]
        assert verdicts == [kind], f"killed at seam {seam}"
        repaired.engine.dispose()
        drop(url)
    assert seam >= 8, "there is a lease, reads, blocks and a transition to die at"


@pytest.mark.integration
def test_a_process_killed_in_the_middle_is_repaired_by_the_next_run(
    ledger_url: str, tmp_path: Path, open_engine: OpenEngine
) -> None:
    """SIGKILL after the lease was taken, while blocks are kept, and inside of the transaction of the verdict."""
    release = ready(ledger_url, open_engine, around(0.95, 0.1), "rolled_back")
    urls = {looks: copy_of(ledger_url, tmp_path, f"killed-{looks}") for looks in (1, 2, 3)}
    processes = {}
    for looks, url in urls.items():
        command = [sys.executable, "-m", "tests.tasks.releases.blocking_clock", url, release.id]
        processes[looks] = subprocess.Popen([*command, str(looks)], stdout=subprocess.PIPE, text=True)
    try:
        for looks, process in processes.items():
            assert process.stdout is not None
            assert process.stdout.readline().strip() == BLOCKED, f"it did not get to look {looks}"
            process.send_signal(signal.SIGKILL)
            assert process.wait(10) == -signal.SIGKILL
    finally:
        for process in processes.values():
            process.kill()
            process.wait(10)
            if process.stdout:
                process.stdout.close()
    for url in urls.values():
        clock = ManualClock()
        clock.advance(200)
        yard = Yard(open_engine(url), clock)
        assert yard.release(release).lease_owner == "the one that is killed"
        assert yard.advance(release, "the next run") is None, "its lease has not ended yet"
        clock.advance(LEASE_SECONDS)
        yard.advance(release, "the next run")
        assert yard.release(release).stage == Stage.ROLLED_BACK
        assert yard.kinds(release).count("rolled_back") == 1
        assert yard.weights() == {"1.0.0": 10_000}
