"""Rows of a dataset that is kept in MLflow: named ``mlflow:NAME`` where a prompt.yaml names a file otherwise.

A record's ``inputs`` are the variables, its ``expectations`` what a right answer is: ``expected_response`` (MLflow's
name) or ``reference``, and ``answerable``, ``documents``, ``assertions`` as in a file. Its tags are the item's, as
``name`` or ``name=value``; one called ``id`` is the item's id.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tasks.specs.dataset_files import Row

PREFIX = "mlflow:"
_EXPECTED = frozenset({"expected_response", "reference", "answerable", "documents", "assertions"})


@dataclass(frozen=True)
class Record:
    """One record, as MLflow has it."""

    inputs: Mapping[str, Any]
    expectations: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)


class Datasets(Protocol):
    """Where datasets are kept by name."""

    def __call__(self, name: str) -> Iterable[Record]:
        """The records in order. Raises LookupError where there is no such dataset, StorageUnavailable."""


def kept_in_mlflow(name: str) -> str:
    """The dataset's name; empty where ``name`` is a file's."""
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else ""


def record_rows(records: Iterable[Record]) -> Iterator[Row]:
    """The records as rows of a file, with their numbers from 1."""
    for number, record in enumerate(records, start=1):
        try:
            yield number, _item(record)
        except ValueError as error:
            yield number, error


def _item(record: Record) -> dict[str, Any]:
    if unknown := sorted(set(record.expectations) - _EXPECTED):
        raise ValueError(f"the expectation {unknown[0]!r} is none of {', '.join(sorted(_EXPECTED))}")
    if {"expected_response", "reference"} <= set(record.expectations):
        raise ValueError("has both 'expected_response' and 'reference': leave one of them out")
    item: dict[str, Any] = {
        "reference" if name == "expected_response" else name: value for name, value in record.expectations.items()
    }
    tags = {name: str(value) for name, value in record.tags.items() if not name.startswith("mlflow.")}
    if identity := tags.pop("id", ""):
        item["id"] = identity
    return {
        **item,
        "variables": dict(record.inputs),
        "tags": [name if value in ("", "true", "True") else f"{name}={value}" for name, value in sorted(tags.items())],
    }
