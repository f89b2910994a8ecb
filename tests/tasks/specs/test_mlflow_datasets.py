"""Golden sets that are kept in MLflow: the same items, the same checks, records counted in place of lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.specs.datasets import digest
from tasks.specs.mlflow_datasets import Record
from tasks.specs.reading import SpecError, SpecFile, read_spec
from tests.tasks.specs.spec_files import GOLDEN, changed, write_spec

QUESTION = {"question": "How much?"}
ANSWER = {"expected_response": "€9 a month."}


def read(folder: Path, records: Sequence[Record], gate: Mapping[str, Any] | None = None) -> SpecFile:
    def datasets(name: str) -> Sequence[Record]:
        if name != "questions":
            raise LookupError(name)
        return records

    spec = changed({"gate": {"golden": "mlflow:questions", **(gate or {})}})
    return read_spec(write_spec(folder, spec), datasets=datasets)


def test_a_record_is_an_item(tmp_path: Path) -> None:
    full = Record(
        {"question": "How long?"},
        {"reference": "30 days.", "assertions": [{"type": "contains", "value": "30"}], "documents": ["trial"]},
        {"id": "g-7", "billing": "true", "language": "de", "mlflow.user": "x"},
    )
    plain, item = read(tmp_path, [Record(QUESTION, ANSWER), full]).golden
    assert (plain.id[:2], plain.variables, plain.reference, plain.tags) == ("i-", QUESTION, "€9 a month.", ())
    assert (item.id, item.reference, item.documents, item.tags) == (
        "g-7",
        "30 days.",
        ("trial",),
        ("billing", "language=de"),
    )
    assert item.assertions[0].value == "30"


def test_the_digest_is_of_the_items_wherever_they_are_kept(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "mlflow").mkdir()
    file = read_spec(write_spec(tmp_path / "file", changed({}), golden=[GOLDEN])).golden
    tags = {"id": GOLDEN["id"], **dict.fromkeys(GOLDEN.get("tags", ()), "")}
    expected = {name: value for name, value in GOLDEN.items() if name not in ("id", "variables", "tags")}
    kept = read(tmp_path / "mlflow", [Record(GOLDEN["variables"], expected, tags)]).golden
    assert digest(kept) == digest(file)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([], "mlflow:questions: has no items"),
        ([Record(QUESTION, ANSWER), Record({"query": "x"}, ANSWER)], "mlflow:questions record 2: the prompt has no"),
        ([Record(QUESTION)], "mlflow:questions record 1: a golden item needs a 'reference'"),
        ([Record(QUESTION, ANSWER)] * 2, "is taken by record 1"),
        ([Record({"question": 5}, ANSWER)], "mlflow:questions record 1: variables.question:"),
        ([Record(QUESTION, {**ANSWER, "guidelines": "x"})], "record 1: the expectation 'guidelines' is none of"),
        ([Record(QUESTION, {**ANSWER, "reference": "x"})], "record 1: has both 'expected_response' and 'reference'"),
    ],
)
def test_a_broken_record_is_named(tmp_path: Path, records: Sequence[Record], words: str) -> None:
    with pytest.raises(SpecError) as refused:
        read(tmp_path, records)
    assert words in refused.value.problems[0]


def test_a_dataset_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="mlflow:others: MLflow has no dataset of this name"):
        read(tmp_path, [], {"golden": "mlflow:others"})


def test_without_mlflow_the_spec_is_checked_and_its_dataset_is_not_read(tmp_path: Path) -> None:
    file = read_spec(write_spec(tmp_path, changed({"gate": {"golden": "mlflow:questions"}})))
    assert file.golden == ()
