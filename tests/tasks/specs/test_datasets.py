"""Broken lines of a dataset are named by number."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.specs.datasets import DatasetError, digest, read_items
from tasks.specs.reading import SpecError, read_spec
from tests.tasks.specs.spec_files import GOLDEN, MUST_PASS, changed, write_spec

Rows = Sequence[Mapping[str, Any] | str]


def golden(**changes: Any) -> dict[str, Any]:
    return {**GOLDEN, "id": "g-2", **changes}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([GOLDEN, '{"id": '], "golden.jsonl line 2: is not a JSON object"),
        ([GOLDEN, '{"id": "g-2"} x'], "golden.jsonl line 2: is not a JSON object"),
        ([GOLDEN, "[1]"], "golden.jsonl line 2: Input should be a valid dictionary"),
        ([GOLDEN, "", "  ", '"text"'], "golden.jsonl line 4: Input should be"),
        ([GOLDEN, golden(refrence="x")], "golden.jsonl line 2: refrence: Extra inputs are not permitted"),
        ([GOLDEN, golden(id="g-1")], "golden.jsonl line 2: the id 'g-1' is taken by line 1"),
        ([GOLDEN, golden(id="g 2")], "golden.jsonl line 2: id:"),
        ([GOLDEN, golden(variables={"tone": "x"})], "golden.jsonl line 2: the prompt has no variable 'tone'"),
        ([GOLDEN, golden(variables={"question": 5})], "golden.jsonl line 2: variables.question:"),
        ([GOLDEN, golden(variables={})], "golden.jsonl line 2: the required variable 'question' is missing"),
        (
            [GOLDEN, golden(variables={"question": "x" * 201})],
            "golden.jsonl line 2: variable 'question' has 201 characters, 200 are allowed",
        ),
        ([GOLDEN, golden(variables=None)], "golden.jsonl line 2: variables:"),
        ([GOLDEN, golden(reference="")], "golden.jsonl line 2: a golden item needs a 'reference'"),
        ([GOLDEN, golden(assertions=[{"type": "max_words"}])], "golden.jsonl line 2: assertions.0: 'max_words' needs"),
        ([], "golden.jsonl: has no items"),
        (["", ""], "golden.jsonl: has no items"),
    ],
)
def test_a_broken_golden_line_is_named(tmp_path: Path, rows: Rows, words: str) -> None:
    with pytest.raises(SpecError) as refused:
        read_spec(write_spec(tmp_path, changed({}), golden=rows))
    assert refused.value.problems[0].startswith(words)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**MUST_PASS, "assertions": []}, "must_pass.jsonl line 1: a must-pass case needs at least one assertion"),
        ({**MUST_PASS, "variables": {}}, "must_pass.jsonl line 1: the required variable 'question' is missing"),
        ({**MUST_PASS, "assertions": [{"type": "refuses"}]}, "must_pass.jsonl line 1: assertions.0: 'refuses' needs"),
    ],
)
def test_a_broken_must_pass_line_is_named(tmp_path: Path, row: Mapping[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as refused:
        read_spec(write_spec(tmp_path, changed({}), must_pass=[row]))
    assert refused.value.problems[0].startswith(words)


def test_a_variable_with_a_default_may_be_left_out(tmp_path: Path) -> None:
    spec = changed(
        {"variables.tone": {"required": False, "default": "plain"}, "template.1.content": "{{question}} Be {{tone}}."}
    )
    assert read_spec(write_spec(tmp_path, spec, golden=[GOLDEN])).golden[0].variables == GOLDEN["variables"]


def test_ten_broken_lines_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refused:
        read_spec(write_spec(tmp_path, changed({}), golden=[GOLDEN, *["broken"] * 13]))
    assert [problem.split(":")[0] for problem in refused.value.problems[:10]] == [
        f"golden.jsonl line {number}" for number in range(2, 12)
    ]
    assert refused.value.problems[10:] == ["golden.jsonl: and 3 more"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_line_ends_where_json_lines_say(tmp_path: Path, separator: str) -> None:
    """Characters that only text calls the end of a line may stand in a JSON string."""
    row = f'{{"id": "g-1", "variables": {{"question": "a{separator}b"}}, "reference": "x"}}'
    file = read_spec(write_spec(tmp_path, changed({}), golden=[row, golden()]))
    assert file.golden[0].variables["question"] == f"a{separator}b"
    assert len(file.golden) == 2


def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    path.write_bytes(b'{"id": "a", "variables": {}, "reference": "x"}\r\n\r\n')
    assert [item.id for item in read_items(path, variables={}, must_assert=False)] == ["a"]


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "golden.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"golden.jsonl: cannot be read"):
        read_items(tmp_path / "golden.jsonl", variables={}, must_assert=False)


def test_the_digest_is_of_the_content_not_of_its_order(tmp_path: Path) -> None:
    first = read_spec(write_spec(tmp_path, changed({}), golden=[GOLDEN, golden()])).golden
    second = read_spec(write_spec(tmp_path, changed({}), golden=[golden(), GOLDEN])).golden
    other = read_spec(write_spec(tmp_path, changed({}), golden=[golden(reference="no"), GOLDEN])).golden
    assert digest(first) == digest(second) != digest(other)
