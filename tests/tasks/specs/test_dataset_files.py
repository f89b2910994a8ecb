"""Spreadsheets and plain inputs: the same items as JSON lines with variables, and the same line numbers in errors."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.specs.dataset_files import read_rows
from tasks.specs.datasets import DatasetError, GoldenItem, digest, read_items
from tasks.specs.model import VariableSpec

ONE = {"question": VariableSpec(max_chars=200)}
TWO = {"topic": VariableSpec(), "tone": VariableSpec()}


def read(tmp_path: Path, text: str, name: str = "golden.csv", variables: Any = None) -> tuple[GoldenItem, ...]:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read_items(path, variables=variables or ONE, must_assert=False)


def problems(tmp_path: Path, text: str, name: str = "golden.csv", variables: Any = None) -> list[str]:
    with pytest.raises(DatasetError) as refused:
        read(tmp_path, text, name, variables)
    return refused.value.problems


def test_csv_and_json_lines_are_the_same_items(tmp_path: Path) -> None:
    assertion = {"type": "contains", "value": "nine"}
    cell = json.dumps([assertion]).replace('"', '""')
    table = (
        "\ufeffid,question,reference,tags,documents,answerable,assertions\r\n"
        f'a,"How, ""much""?\nTell me.",Nine.,billing; trial ,plans,yes,"{cell}"\r\n'
        "b,Why?,Because.,,,no,\r\n"
    )
    lines = "\n".join(
        json.dumps(row)
        for row in (
            {
                "id": "a",
                "variables": {"question": 'How, "much"?\nTell me.'},
                "reference": "Nine.",
                "tags": ["billing", "trial"],
                "documents": ["plans"],
                "assertions": [assertion],
            },
            {"id": "b", "input": "Why?", "reference": "Because.", "answerable": False},
        )
    )
    from_csv, from_lines = read(tmp_path, table), read(tmp_path, lines, "golden.jsonl")
    assert from_csv == from_lines
    assert digest(from_csv) == digest(from_lines)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", ["golden.csv: has no items"]),
        ("question,reference\n", ["golden.csv: has no items"]),
        ("question,reference\nWhy?,Because.\nHow?\n", ["golden.csv line 3: has 1 cells, the header has 2"]),
        ('question,reference\n"a\nb",x\n\nHow?,\n', ["golden.csv line 5: a golden item needs a 'reference'"]),
        ("question,reference\n,x\n", ["golden.csv line 2: the required variable 'question' is missing"]),
        ("qestion,reference\nWhy?,x\n", ["golden.csv line 2: the prompt has no variable 'qestion'"]),
        ("question,question\nWhy?,x\n", ["golden.csv line 1: the column 'question' is there twice"]),
        ("question,\nWhy?,x\n", ["golden.csv line 1: column 2 has no name"]),
        ("input,answerable\nWhy?,well\n", ["golden.csv line 2: answerable: 'well' is neither true nor false"]),
        ("input,question\nWhy?,Why?\n", ["golden.csv line 2: has both 'input' and 'variables': leave one of them out"]),
        ('question,reference\nWhy?,"x\n', ["golden.csv line 2: is not CSV: unexpected end of data"]),
    ],
)  # fmt: skip
def test_a_broken_row_is_named_by_the_line_it_begins_on(tmp_path: Path, table: str, said: list[str]) -> None:
    assert problems(tmp_path, table) == said


def test_broken_json_in_a_cell_is_named(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, "input,reference,assertions\nWhy?,x,[1\n")
    assert said.startswith("golden.csv line 2: assertions: is not JSON")


def test_an_item_that_lacks_a_variable_is_refused_not_scored_nought(tmp_path: Path) -> None:
    said = problems(tmp_path, "topic,tone,reference\nfridges,,x\n", variables=TWO)
    assert said == ["golden.csv line 2: the required variable 'tone' is missing"]
    must_pass = tmp_path / "must_pass.csv"
    must_pass.write_text('tone,assertions\nkind,"[{""type"": ""cites""}]"\n')
    with pytest.raises(DatasetError, match=r"must_pass.csv line 2: the required variable 'topic' is missing"):
        read_items(must_pass, variables=TWO, must_assert=True)


def test_a_text_as_input_must_be_clear(tmp_path: Path) -> None:
    row = '{"input": "fridges", "reference": "x"}'
    assert "several variables" in problems(tmp_path, row, "golden.jsonl", TWO)[0]
    named = read(tmp_path, '{"input": {"topic": "a", "tone": "b"}, "reference": "x"}', "golden.jsonl", TWO)
    assert named[0].variables == {"topic": "a", "tone": "b"}


def test_items_without_an_id_keep_theirs_when_lines_move(tmp_path: Path) -> None:
    first = read(tmp_path, "input,reference\nWhy?,x\nHow?,y\n")
    second = read(tmp_path, "input,reference\nHow?,y\nNew?,z\nWhy?,x\n")
    assert {item.id for item in first} < {item.id for item in second}
    assert problems(tmp_path, "input,reference\nWhy?,x\nWhy?,y\n") == [
        f"golden.csv line 3: the id {first[0].id!r} is taken by line 2"
    ]


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=20)


@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=8))
def test_whatever_a_spreadsheet_writes_is_read_back(rows: list[tuple[str, str]], tmp_path_factory: Any) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("question", "reference"), *rows])
    path = tmp_path_factory.mktemp("csv") / "golden.csv"
    path.write_bytes(out.getvalue().encode())
    found = [row for _, row in read_rows(path)]
    wanted = [
        {"variables": {"question": question}, "reference": reference}
        for question, reference in rows
        if question.strip() or reference.strip()
    ]
    assert found == wanted
