"""Spool lines to SQL rows: idempotent, and one bad record never holds up the others."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Engine, String
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, StatementError

from gateway.errors import StorageUnavailable
from gateway.ledger.lines import BrokenLine, decode_line
from gateway.ledger.records import CALL, PAIR, SCORE, CallRecord, ScoreRecord
from gateway.ledger.rejected import Rejection
from gateway.storage.engine import writing
from gateway.storage.models import Base, CallRow, ScoreRow, SemanticPairRow
from gateway.storage.upsert import insert_missing
from gateway.types import SemanticPair

_TABLES: dict[str, type[Base]] = {CALL: CallRow, SCORE: ScoreRow, PAIR: SemanticPairRow}
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    CALL: msgspec.json.Decoder(CallRecord),
    SCORE: msgspec.json.Decoder(ScoreRecord),
    PAIR: msgspec.json.Decoder(SemanticPair),
}
_LENGTHS: dict[str, dict[str, int]] = {
    kind: {
        column.name: column.type.length
        for column in table.__table__.columns
        if isinstance(column.type, String) and column.type.length and not column.primary_key
    }
    for kind, table in _TABLES.items()
}


class _Row(msgspec.Struct, frozen=True):
    kind: str
    values: Mapping[str, Any]
    line: bytes


def deliver(engine: Engine, lines: Sequence[bytes]) -> list[Rejection]:
    """Insert the records of the lines, each at most once by its primary key, and return those that cannot be rows.

    When it returns, everything else is committed. Raises StorageUnavailable when SQL cannot be reached, is locked, or
    has no such tables yet: then nothing is lost and the same lines may be delivered again.
    """
    rows: list[_Row] = []
    rejections: list[Rejection] = []
    for line in lines:
        try:
            rows.append(_row(line))
        except ValueError as error:
            rejections.append(Rejection(line, str(error)))
    return rejections + _insert(engine, rows)


def _row(line: bytes) -> _Row:
    """Raises ``ValueError``: BrokenLine, and msgspec's errors, which name a path and a type but no value."""
    envelope = decode_line(line)
    decoder = _DECODERS.get(envelope.kind)
    if decoder is None:
        raise BrokenLine("no record: its kind is unknown")
    values = msgspec.structs.asdict(decoder.decode(envelope.record))
    if envelope.kind == CALL:
        values["attempts"] = msgspec.to_builtins(values["attempts"])
    for name, length in _LENGTHS[envelope.kind].items():
        if len(values.get(name, "")) > length:  # what only the control plane writes is not in the record
            values[name] = values[name][:length]
    return _Row(envelope.kind, values, line)


def _insert(engine: Engine, rows: list[_Row]) -> list[Rejection]:
    if not rows:
        return []
    try:
        with writing(engine) as session:
            for kind, table in _TABLES.items():
                insert_missing(session, table, [row.values for row in rows if row.kind == kind])
        return []
    except ProgrammingError as error:  # values are typed by now: it is the tables that are missing or old
        raise StorageUnavailable("the ledger's tables are not there: run the migrations") from error
    except (DataError, IntegrityError, StatementError, OverflowError, ValueError) as error:
        if len(rows) == 1:
            return [Rejection(rows[0].line, f"SQL refuses it: {type(error).__name__}")]
    middle = len(rows) // 2
    return _insert(engine, rows[:middle]) + _insert(engine, rows[middle:])
