"""Two versions side by side: the text, and the answers of the gate that compared them, or of the gates of each."""

import math
from typing import Any

import pytest

from tasks.registry import LoggedRun
from tasks.version_diff import compare_runs, text_diff

SPEC: dict[str, Any] = {
    "name": "help",
    "version": "1.0.0",
    "changelog": "first",
    "template": [{"role": "system", "content": "Be short.\nBe kind."}, {"role": "user", "content": "{{question}}"}],
    "model": {"chain": ["openai/a"], "temperature": 0},
}


def test_the_diff_is_of_what_the_versions_say_and_do() -> None:
    system = {"role": "system", "content": "Be short.\nCite your sources."}
    new = {**SPEC, "version": "1.1.0", "changelog": "cites", "template": [system, SPEC["template"][1]]}
    new["model"] = {"chain": ["openai/b"], "temperature": 0}
    lines = text_diff(SPEC, new, ("help 1.0.0", "help 1.1.0"))
    assert lines[:2] == ["--- help 1.0.0", "+++ help 1.1.0"]
    assert {line for line in lines if line[0] in "+-" and line[:3] not in ("---", "+++")} == {
        "-Be kind.",
        "+Cite your sources.",
        "-  - openai/a",
        "+  - openai/b",
    }
    assert text_diff(SPEC, {**SPEC, "version": "2.0.0", "changelog": "nothing"}, ("a", "b")) == []


def row(identity: str, answer: str, score: float | None, **more: Any) -> dict[str, Any]:
    return {"kind": "golden", "id": identity, "repeat": 0, "question": "Why?", "answer": answer, "score": score, **more}


def test_the_gate_that_compared_them_says_what_changed_the_worst_first() -> None:
    rows = [
        row("same", "a", 1.0, **{"answer before": "a", "score before": 1.0}),
        row("better", "b", 0.9, **{"answer before": "c", "score before": 0.5}),
        row("worse", "d", 0.1, **{"answer before": "e", "score before": 0.9}, why="no price"),
        row("unknown", "f", math.nan, **{"answer before": "g", "score before": 0.9}),
        {**row("m", "x", None), "kind": "must-pass", "answer before": None, "score before": None},
    ]
    run = LoggedRun(
        {"baseline": "1.0.0"}, {"score": 0.8, "score_baseline": 0.7, "score_difference": 0.1, "items": 4}, rows
    )
    found = compare_runs("1.0.0", None, run)
    assert [one.item for one in found.changed] == ["worse", "unknown", "better"]
    assert (found.changed[0].before, found.changed[0].now, found.changed[0].why) == ("e", "d", "no price")
    assert (found.changed[1].score, found.same, found.note) == (None, 1, "")
    assert [(one.metric, one.before, one.now) for one in found.figures] == [("score", 0.7, 0.8)]


def test_versions_gated_apart_are_joined_by_item_and_that_is_said() -> None:
    before = LoggedRun(
        {"golden_digest": "a", "judge_version": "j"}, {"score": 0.7}, [row("x", "old", 0.5), row("gone", "y", 1)]
    )
    now = LoggedRun(
        {"baseline": "1.0.1", "golden_digest": "b", "judge_version": "k"},
        {"score": 0.8},
        [row("x", "new", 1.0), row("added", "z", 1)],
    )
    found = compare_runs("1.0.0", before, now)
    assert [(one.item, one.before, one.now, one.change) for one in found.changed] == [("x", "old", "new", 0.5)]
    assert "golden sets differ" in found.note
    assert "judges differ" in found.note


@pytest.mark.parametrize(
    ("now", "words"),
    [(None, "cannot be compared"), (LoggedRun({"baseline": "0.9.0"}, {}, []), "no gate was held against 1.0.0")],
)
def test_without_a_gate_there_is_only_the_text(now: LoggedRun | None, words: str) -> None:
    found = compare_runs("1.0.0", None, now)
    assert (found.changed, found.figures) == ((), ())
    assert words in found.note
