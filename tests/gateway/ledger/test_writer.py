"""Every record becomes a row once, whatever happens in between; nothing is lost and nobody is held up."""

import base64
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import asdict
from sqlalchemy import Engine, select, text

from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable
from gateway.ledger.lines import encode_line
from gateway.ledger.records import CALL, SCORE, score_record
from gateway.ledger.segments import Position, segment_path
from gateway.ledger.spool import Spool
from gateway.ledger.writer import LedgerWriter, WriterBusy
from gateway.storage.engine import reading, writing
from gateway.storage.models import CallRow, ScoreRow
from tests.gateway.ledger.ledger_values import append, record, spool_at, spools_in, stored

OpenEngine = Callable[..., Engine]


class Crash(Exception):
    """Stands for the writer's sudden end."""


def crash(_directory: Path, _position: Position) -> None:
    raise Crash


def newest_segment(spool: Spool) -> Path:
    return max(spool.directory.glob("*.segment"))


def write_raw(spool: Spool, line: bytes) -> None:
    with newest_segment(spool).open("ab") as file:
        file.write(line)


def test_calls_and_scores_arrive_whole(engine: Engine, tmp_path: Path, clock: ManualClock) -> None:
    spool = spool_at(tmp_path / "spool")
    spool.append(CALL, record("call_1"))
    spool.append(SCORE, score_record("call_1", "acme", "helpful", "feedback", 0.5, 2.0, "half"))
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer:
        assert writer.ship() == 2
        assert writer.ship() == 0
    with reading(engine) as session:
        row = session.scalars(select(CallRow)).one()
        score = session.scalars(select(ScoreRow)).one()
    wrote = asdict(record("call_1"))
    assert {name: getattr(row, name) for name in wrote} == wrote | {"documents": []}
    assert (score.value, score.reason, score.source) == (0.5, "half", "feedback")


def test_a_crash_between_commit_and_position_makes_no_duplicate(
    engine: Engine, tmp_path: Path, clock: ManualClock
) -> None:
    spool = spool_at(tmp_path / "spool")
    append(spool, "a", "b")
    with LedgerWriter(engine, tmp_path / "spool", clock, store=crash) as writer, pytest.raises(Crash):
        writer.ship()
    assert stored(engine) == ["a", "b"]
    append(spool, "c")
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer:
        assert writer.ship() == 3
        assert writer.rejected.count == 0
    assert stored(engine) == ["a", "b", "c"]


def test_a_torn_line_of_the_living_waits_for_its_rest(
    ledger_url: str, open_engine: OpenEngine, tmp_path: Path, clock: ManualClock
) -> None:
    engine, spool = open_engine(ledger_url), spool_at(tmp_path / "spool")
    append(spool, "a")
    line = encode_line(CALL, record("b"))
    write_raw(spool, line[:40])
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer:
        assert writer.ship() == 1
        assert writer.ship() == 0
        write_raw(spool, line[40:])
        assert writer.ship() == 1
        assert writer.rejected.count == 0
    assert stored(engine) == ["a", "b"]


def test_a_torn_line_of_the_dead_is_set_aside(
    ledger_url: str, open_engine: OpenEngine, tmp_path: Path, clock: ManualClock
) -> None:
    engine, spool = open_engine(ledger_url), spool_at(tmp_path / "spool")
    append(spool, "a")
    write_raw(spool, encode_line(CALL, record("b"))[:40])
    name = spool.directory.name
    spool.close()
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer:
        writer.ship()
        assert writer.rejected.count == 1
    entry = msgspec.json.decode((tmp_path / "spool" / "rejected" / f"{name}.jsonl").read_bytes())
    assert base64.b64decode(entry["line"]) == encode_line(CALL, record("b"))[:40]
    assert stored(engine) == ["a"]
    assert spools_in(tmp_path / "spool") == []


POISON = {
    "noise": b"\x00\xff noise\n",
    "damaged": encode_line(CALL, record("x")).replace(b"30 days", b"31 days"),
    "unknown kind": encode_line("dance", record("x")),
    "a column is missing": encode_line(CALL, {k: v for k, v in asdict(record("x")).items() if k != "tenant"}),
    "a column is of another type": encode_line(CALL, asdict(record("x")) | {"weight": "much"}),
    "a number too large for SQL": encode_line(CALL, asdict(record("x")) | {"weight": 2**80}),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_poison_is_set_aside_and_holds_up_nobody(
    poison: bytes, engine: Engine, tmp_path: Path, clock: ManualClock
) -> None:
    spool = spool_at(tmp_path / "spool")
    append(spool, "a", "b")
    write_raw(spool, poison)
    append(spool, "c", "d")
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer:
        assert writer.ship() == 5
        assert writer.rejected.count == 1
    assert stored(engine) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("content", ["\0", "\ud83d", "x" * 1_000], ids=["NUL", "half a pair", "too long"])
def test_strange_text_costs_no_record(content: str, engine: Engine, tmp_path: Path, clock: ManualClock) -> None:
    spool = spool_at(tmp_path / "spool")
    spool.append(CALL, asdict(record("a", content)) | {"user": content, "variables": {"question": content}})
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer:
        writer.ship()
        assert writer.rejected.count == 0
    assert stored(engine) == ["a"]


def test_a_locked_database_loses_nothing_and_catches_up(
    sqlite_url: str, open_engine: OpenEngine, tmp_path: Path, clock: ManualClock
) -> None:
    engine, spool = open_engine(sqlite_url, timeout=0.02), spool_at(tmp_path / "spool")
    blocker = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer:
        for number in range(5):
            append(spool, f"call_{number}")
            with pytest.raises(StorageUnavailable):
                writer.ship()
        blocker.execute("COMMIT")
        assert writer.ship() == 5
    blocker.close()
    assert stored(engine) == [f"call_{number}" for number in range(5)]


def test_a_table_locked_on_postgresql_loses_nothing_and_catches_up(
    database_url: str, open_engine: OpenEngine, tmp_path: Path, clock: ManualClock
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite locks the whole file: see the test above")
    engine, spool = open_engine(database_url, timeout=0.1), spool_at(tmp_path / "spool")
    append(spool, "a")
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer:
        with open_engine(database_url).begin() as blocker:
            blocker.execute(text("LOCK TABLE calls"))
            with pytest.raises(StorageUnavailable):
                writer.ship()
        assert writer.ship() == 1
    assert stored(engine) == ["a"]


def test_a_missing_database_file_loses_nothing_and_catches_up(
    sqlite_url: str, open_engine: OpenEngine, tmp_path: Path, clock: ManualClock
) -> None:
    path, aside = Path(sqlite_url.removeprefix("sqlite:///")), tmp_path / "aside.db"
    engine, spool = open_engine(sqlite_url, timeout=0.1), spool_at(tmp_path / "spool")
    append(spool, "a")
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer:
        assert writer.ship() == 1  # its connection is in the pool from now on
        append(spool, "b")
        path.rename(aside)
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                writer.ship()
        aside.rename(path)
        assert writer.ship() == 1
    assert stored(engine) == ["a", "b"]


def test_a_folder_that_cannot_hold_a_database_loses_nothing(
    open_engine: OpenEngine, tmp_path: Path, clock: ManualClock
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'nowhere' / 'ledger.db'}")
    spool = spool_at(tmp_path / "spool")
    append(spool, "a")
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer, pytest.raises(StorageUnavailable):
        writer.ship()
    assert segment_path(spool.directory, 1).exists()


def test_missing_tables_are_an_outage(
    empty_database_url: str, open_engine: OpenEngine, tmp_path: Path, clock: ManualClock
) -> None:
    append(spool_at(tmp_path / "spool"), "a")
    with LedgerWriter(open_engine(empty_database_url), tmp_path / "spool", clock) as writer:
        with pytest.raises(StorageUnavailable):
            writer.ship()
        assert writer.rejected.count == 0


def test_two_writers_exclude_each_other(
    ledger_url: str, open_engine: OpenEngine, tmp_path: Path, clock: ManualClock
) -> None:
    engine = open_engine(ledger_url)
    with LedgerWriter(engine, tmp_path, clock), pytest.raises(WriterBusy):
        LedgerWriter(engine, tmp_path, clock)
    LedgerWriter(engine, tmp_path, clock).close()


def test_a_folder_in_trouble_does_not_hold_up_the_others(
    ledger_url: str, open_engine: OpenEngine, tmp_path: Path, clock: ManualClock
) -> None:
    engine = open_engine(ledger_url)
    broken, sound = spool_at(tmp_path, "a-broken"), spool_at(tmp_path, "b-sound")
    segment_path(broken.directory, 1).mkdir()
    append(sound, "a")
    with LedgerWriter(engine, tmp_path, clock) as writer:
        assert writer.ship() == 1
        with pytest.raises(StorageUnavailable):
            writer.ship()
    assert stored(engine) == ["a"]


def test_a_living_spool_is_emptied_but_not_removed(
    ledger_url: str, open_engine: OpenEngine, tmp_path: Path, clock: ManualClock
) -> None:
    engine, spool = open_engine(ledger_url), spool_at(tmp_path, segment_bytes=4_096)
    append(spool, *(f"call_{number:03}" for number in range(100)))
    with LedgerWriter(engine, tmp_path, clock) as writer:
        while writer.ship():
            pass
        assert len(list(spool.directory.glob("*.segment"))) == 1
        append(spool, "call_100")
        assert writer.ship() == 1
        spool.close()
        writer.ship()
    assert spools_in(tmp_path) == []
    assert len(stored(engine)) == 101


def test_a_row_that_is_there_is_not_changed(engine: Engine, tmp_path: Path, clock: ManualClock) -> None:
    spool = spool_at(tmp_path / "spool")
    spool.append(SCORE, score_record("call_1", "acme", "helpful", "feedback", 1.0, 2.0))
    spool.append(SCORE, score_record("call_1", "acme", "helpful", "feedback", 0.0, 3.0))
    with writing(engine) as session:
        session.add(CallRow(**asdict(record("a", "first"))))
    spool.append(CALL, record("a", "second"))
    with LedgerWriter(engine, tmp_path / "spool", clock) as writer:
        writer.ship()
    with reading(engine) as session:
        assert session.scalar(select(CallRow.answer)) == "first"
        assert session.scalars(select(ScoreRow.value)).all() == [1.0]
