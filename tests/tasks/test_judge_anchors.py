"""Anchors are frozen with their scores, read with line numbers, and asked for anew past the cache."""

import json
from pathlib import Path

import pytest

from tasks.evaluators.judge import judge_version
from tasks.judge_anchors import freeze, read_anchors, score_anchors
from tasks.judge_calibration import LabelError, Labelled
from tasks.specs.model import JudgeSpec
from tests.tasks.conftest import Station

JUDGE = JudgeSpec(model="openai/judge", criteria=("accuracy",))
VERSION = judge_version(JUDGE.model, JUDGE.criteria)


def rated(rating: int, at: int = 0) -> Labelled:
    """The test's provider echoes the prompt: the verdict is the JSON object in the answer."""
    return Labelled("Why?", json.dumps({"accuracy": rating, "at": at}), True, "a reference", "a document\u2028more")


def test_what_was_frozen_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    examples = [rated(5), rated(3), rated(1)]
    assert freeze(path, examples, [1.0, None, 0.0], VERSION) == 2
    found = read_anchors(path)
    assert (found.examples, found.scores, found.judge) == ((examples[0], examples[2]), (1.0, 0.0), VERSION)
    assert [one.name for one in tmp_path.iterdir()] == ["anchors.jsonl"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"score": 2}, "line 2: score: 2.0 is not in"),
        ({"judge": "other"}, "line 2: has another judge"),
        ({"x": 1}, "line 2"),
    ],
)
def test_a_broken_anchor_is_named_by_its_line(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "anchors.jsonl"
    freeze(path, [rated(5), rated(5)], [1.0, 1.0], VERSION)
    first, second, _ = path.read_text(encoding="utf-8").split("\n")
    path.write_text(f"{first}\n{json.dumps({**json.loads(second), **change})}\n")
    with pytest.raises(LabelError, match=words):
        read_anchors(path)
    path.write_text("\n")
    with pytest.raises(LabelError, match="has no anchors"):
        read_anchors(path)


@pytest.mark.integration
def test_a_judge_is_asked_anew_and_a_changed_one_is_not_compared(station: Station, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    freeze(path, [rated(5, at) for at in range(10)], [1.0] * 10, VERSION)
    steady = score_anchors.fn(station.settings, "acme", JUDGE, read_anchors(path))
    assert (steady.state, steady.examples) == ("steady", 10)
    asked = station.provider.calls
    freeze(path, [rated(5, at) for at in range(10)], [0.5] * 10, VERSION)
    drifting = score_anchors.fn(station.settings, "acme", JUDGE, read_anchors(path))
    assert (drifting.state, drifting.shift) == ("drifting", 0.5)
    assert station.provider.calls == asked + 10, "the cache does not answer for the judge of today"
    other = score_anchors.fn(station.settings, "acme", JudgeSpec(model="openai/other"), read_anchors(path))
    assert other.state == "unknown"
    assert "freeze them anew" in other.reason
