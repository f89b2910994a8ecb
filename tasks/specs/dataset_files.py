"""The rows of a dataset's file with the line that each begins on: JSON lines, or CSV as spreadsheets write it."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

Row = tuple[int, Mapping[str, Any] | Exception]
"""A line number, from 1, and what stands there, or why that cannot be read."""

_LISTS = ("tags", "documents")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_OWN = frozenset({"id", "input", "reference", "answerable", "assertions", *_LISTS})
_LONGEST_CELL = 1_000_000


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of ``*.csv``, or of JSON lines in a file of any other name; empty lines are no rows.

    Raises OSError and UnicodeDecodeError when the file cannot be read.
    """
    # Not read_text(): it changes line ends inside of cells. Excel begins its files with a byte order mark.
    text = path.read_bytes().decode("utf-8-sig")
    return _csv_rows(text) if path.suffix.lower() == ".csv" else _json_rows(text)


def _json_rows(text: str) -> Iterator[Row]:
    # Not splitlines(): JSON strings may hold U+2028 and its like, which are no ends of lines here.
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if line.strip():
            try:
                yield number, msgspec.json.decode(line)
            except msgspec.DecodeError as error:
                yield number, ValueError(f"is not a JSON object: {error}")


def _csv_rows(text: str) -> Iterator[Row]:
    """Columns: ``input`` or one for each variable, and as a JSON item's fields; lists are separated by ``;``."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    begins = 1
    while True:
        try:
            csv.field_size_limit(_LONGEST_CELL)
            cells = next(reader, None)
        except csv.Error as error:
            yield begins, ValueError(f"is not CSV: {error}")
            return
        if cells is None:
            return
        line, begins = begins, reader.line_num + 1  # a quoted cell may go over several lines
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            if problem := _header_problem(header):
                yield line, ValueError(problem)
                return
            continue
        if len(cells) != len(header):
            yield line, ValueError(f"has {len(cells)} cells, the header has {len(header)}")
            continue
        try:
            yield line, _item(dict(zip(header, cells, strict=True)))
        except ValueError as error:
            yield line, error


def _header_problem(header: list[str]) -> str:
    if "" in header:
        return f"column {header.index('') + 1} has no name"
    twice = [name for name in header if header.count(name) > 1]
    return f"the column {twice[0]!r} is there twice" if twice else ""


def _item(row: Mapping[str, str]) -> dict[str, Any]:
    item: dict[str, Any] = {}
    variables = {name.removeprefix("variables."): value for name, value in row.items() if name not in _OWN}
    for name, value in row.items():
        if name not in _OWN or value == "":
            continue
        if name in _LISTS:
            item[name] = [part.strip() for part in value.split(";") if part.strip()]
        elif name == "assertions":
            try:
                item[name] = msgspec.json.decode(value)
            except msgspec.DecodeError as error:
                raise ValueError(f"assertions: is not JSON: {error}") from None
        elif name == "answerable":
            if value.strip().lower() not in _WORDS:
                raise ValueError(f"answerable: {value!r} is neither true nor false")
            item[name] = _WORDS[value.strip().lower()]
        else:
            item[name] = value
    # An empty cell is a variable that was left out: a spreadsheet cannot say it otherwise.
    given = {name: value for name, value in variables.items() if value != ""}
    if given or "input" not in row:
        item["variables"] = given
    return item
