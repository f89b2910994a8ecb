"""Labels are read with line numbers; a judge behind the real online path is held against them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.judge_calibration import (
    LabelError,
    Labelled,
    LabelledPair,
    calibrate_judge,
    calibrate_pairs,
    read_labels,
)
from tasks.specs.model import JudgeSpec
from tests.tasks.conftest import Station


def labels(tmp_path: Path, text: str, name: str = "labels.jsonl") -> Any:
    path = tmp_path / name
    path.write_text(text)
    return read_labels(path)


def test_answers_and_pairs_as_lines_or_table(tmp_path: Path) -> None:
    single = {"question": "Why?", "answer": "So.", "label": "right", "documents": ["One.", "Two."]}
    assert labels(tmp_path, json.dumps(single)) == [Labelled("Why?", "So.", True, documents="One.\n\nTwo.")]
    assert labels(tmp_path, "question,answer,label,reference\nWhy?,So.,Wrong,Because.\n", "labels.csv") == [
        Labelled("Why?", "So.", False, reference="Because.")
    ]
    pair = {"input": "Why?", "answer_a": "So.", "answer_b": "No.", "better": "B"}
    assert labels(tmp_path, json.dumps(pair)) == [LabelledPair("Why?", "So.", "No.", "b")]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "Why?", "answer": "So.", "label": "maybe"}, "line 1: label: 'maybe' is neither right nor wrong"),
        ({"question": "Why?", "answer": " ", "label": "right"}, "line 1: answer: a text is needed"),
        ({"answer": "So.", "label": "right"}, "line 1: question: a text is needed"),
        ({"question": "Why?", "answer_a": "x", "answer_b": "y", "better": "c"}, "line 1: better: 'c' is none of a, b"),
        ([1], "line 1: is not an object"),
        ({"question": "Why?", "answer": "So.", "label": "right", "documents": [1]}, "line 1: documents:"),
    ],
)
def test_a_broken_label_is_named_by_its_line(tmp_path: Path, row: Any, words: str) -> None:
    with pytest.raises(LabelError) as refused:
        labels(tmp_path, json.dumps(row))
    assert words in refused.value.message


def test_an_empty_file_and_a_mixed_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="has no examples"):
        labels(tmp_path, "\n")
    single = {"question": "Why?", "answer": "So.", "label": "right"}
    pair = {"question": "Why?", "answer_a": "x", "answer_b": "y", "better": "tie"}
    with pytest.raises(LabelError, match="both single answers and pairs"):
        labels(tmp_path, f"{json.dumps(single)}\n{json.dumps(pair)}")


@pytest.mark.integration
def test_a_judge_is_held_against_labels(station: Station) -> None:
    """The provider echoes the prompt, so that the verdict is the JSON object that stands in the answer."""

    def example(rating: int, right: bool) -> Labelled:
        return Labelled("Why?", json.dumps({"accuracy": rating, "reason": f"{rating}"}), right, reference="x")

    examples = [example(5, True), example(4, True), example(2, True), example(1, False), Labelled("Why?", "?", False)]
    judge = JudgeSpec(model="openai/judge", criteria=("accuracy",))
    found = calibrate_judge(station.settings, "acme", judge, examples, margin=0.05)
    assert found.scores == (1.0, 0.75, 0.25, 0.0, None)
    assert found.not_judged == 1
    assert found.found is not None
    assert (found.found.sensitivity.value, found.found.specificity.value) == (pytest.approx(2 / 3), 1.0)
    assert found.found.warnings
    asked = station.provider.calls
    calibrate_judge(station.settings, "acme", judge, examples, margin=0.05)
    assert station.provider.calls == asked, "a second calibration is answered from the cache"
    calibrate_judge(station.settings, "acme", judge, examples, margin=0.05, fresh=True)
    assert station.provider.calls > asked


@pytest.mark.integration
def test_a_judge_of_pairs_is_held_against_labels(station: Station) -> None:
    """Whoever echoes the first JSON object says the same winner in both orders: every verdict is a flip, so a tie."""
    answer = json.dumps({"winner": "A"})
    pairs = [LabelledPair("Why?", f"{answer} {at}", "b", "a") for at in range(3)] + [
        LabelledPair("Why?", "x", "x", "tie")
    ]
    found = calibrate_pairs(station.settings, "acme", "openai/judge", pairs)
    assert (found.flipped.value, found.agreement.value, found.decided_right) == (0.75, 0.25, None)
