"""Golden and must-pass sets, as JSON lines, CSV or records of MLflow, checked with line or record numbers.

``input`` may stand for ``variables``: a text is the prompt's only required variable, or the one named ``question``. An
item without an ``id`` has one that follows from its variables, so that it is the same item wherever its line goes.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.specs.dataset_files import Row, read_rows
from tasks.specs.mlflow_datasets import PREFIX, Record, record_rows
from tasks.specs.model import Assertion, VariableSpec


class GoldenItem(BaseModel):
    """A question with what a right answer is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,80}$")  # of the same item in every version: pairs are formed by it
    variables: dict[str, str]
    reference: str = ""
    answerable: bool = True
    documents: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    assertions: tuple[Assertion, ...] = ()


class DatasetError(ValueError):
    """A dataset has broken lines; ``problems`` names each by number."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def read_items(path: Path, *, variables: Mapping[str, VariableSpec], must_assert: bool) -> tuple[GoldenItem, ...]:
    """The items in file order. Raises DatasetError with up to ten broken lines."""
    try:
        rows = list(read_rows(path))
    except FileNotFoundError:
        raise DatasetError([f"{path.name}: there is no such file beside the spec"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError([f"{path.name}: cannot be read: {error}"]) from None
    return checked_items(path.name, "line", rows, variables=variables, must_assert=must_assert)


def read_records(
    name: str, records: Iterable[Record], *, variables: Mapping[str, VariableSpec], must_assert: bool
) -> tuple[GoldenItem, ...]:
    """The items of a dataset of MLflow. Raises DatasetError with up to ten broken records."""
    rows = record_rows(records)
    return checked_items(PREFIX + name, "record", rows, variables=variables, must_assert=must_assert)


def checked_items(
    source: str, unit: str, rows: Iterable[Row], *, variables: Mapping[str, VariableSpec], must_assert: bool
) -> tuple[GoldenItem, ...]:
    """The items in order; a problem is of a ``unit`` (line, record) of the ``source``. Raises DatasetError."""
    items: list[GoldenItem] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        try:
            if isinstance(row, Exception):
                raise row
            item = GoldenItem.model_validate(_whole(row, variables))
            _check(item, variables, must_assert, seen, unit)
        except ValueError as error:
            problems.append(f"{source} {unit} {number}: {_words(error)}")
            continue
        seen[item.id] = number
        items.append(item)
    if not problems and not items:
        problems.append(f"{source}: has no items")
    if problems:
        more = [f"{source}: and {len(problems) - 10} more"] if len(problems) > 10 else []
        raise DatasetError(problems[:10] + more)
    return tuple(items)


def digest(items: Sequence[GoldenItem]) -> str:
    """SHA-256 (hex) over the items' canonical JSON, in order of their ids."""
    ordered: list[dict[str, Any]] = [item.model_dump(mode="json") for item in sorted(items, key=lambda item: item.id)]
    return hashlib.sha256(msgspec.json.encode(ordered, order="deterministic")).hexdigest()


def _whole(row: Any, variables: Mapping[str, VariableSpec]) -> Any:
    """The row with ``variables`` for ``input``, and an id. Raises ValueError."""
    if not isinstance(row, Mapping):
        return row
    whole = dict(row)
    if "input" in whole:
        if "variables" in whole:
            raise ValueError("has both 'input' and 'variables': leave one of them out")
        given = whole.pop("input")
        whole["variables"] = given if isinstance(given, Mapping) else {_main(variables): given}
    if not whole.get("id") and isinstance(whole.get("variables"), Mapping):
        whole["id"] = content_id(whole["variables"])
    return whole


def _main(variables: Mapping[str, VariableSpec]) -> str:
    required = [name for name, variable in variables.items() if variable.required]
    if len(required) == 1:
        return required[0]
    if "question" in variables:
        return "question"
    raise ValueError("'input' is a text, and the prompt has several variables: write 'input' with each by its name")


def content_id(variables: Mapping[str, Any]) -> str:
    """``i-`` and twelve hex digits of the variables' canonical JSON."""
    return "i-" + hashlib.sha256(msgspec.json.encode(variables, order="deterministic")).hexdigest()[:12]


def _check(
    item: GoldenItem, variables: Mapping[str, VariableSpec], must_assert: bool, seen: dict[str, int], unit: str
) -> None:
    if item.id in seen:
        raise ValueError(f"the id {item.id!r} is taken by {unit} {seen[item.id]}")
    if unknown := sorted(set(item.variables) - set(variables)):
        raise ValueError(f"the prompt has no variable {unknown[0]!r}")
    for name, variable in variables.items():
        if name not in item.variables:
            if variable.required:  # it would not be asked, and score 0 without a word
                raise ValueError(f"the required variable {name!r} is missing")
        elif (length := len(item.variables[name])) > variable.max_chars:
            raise ValueError(f"variable {name!r} has {length} characters, {variable.max_chars} are allowed")
    if must_assert and not item.assertions:
        raise ValueError("a must-pass case needs at least one assertion")
    if not must_assert and not item.reference:
        raise ValueError("a golden item needs a 'reference'")


def _words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg'].removeprefix('Value error, ')}" if where else first["msg"]
    return str(error)
