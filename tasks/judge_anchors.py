"""A frozen set of answers with the scores that a judge gave them when it was calibrated: a file beside the prompt.

JSON lines of ``question``, ``answer``, ``label``, ``reference``, ``documents``, and ``score`` with the ``judge``'s
version. It is kept with the prompt and changes only when somebody freezes it anew.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.settings import Settings
from tasks.evaluators.judge import judge_version
from tasks.judge_calibration import LabelError, Labelled, ask_judge
from tasks.specs.model import JudgeSpec
from tasks.statistics.judge_drift import JudgeDrift, JudgeState, decide_judge_drift
from tasks.step import step


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    question: str
    answer: str
    label: str
    score: float
    judge: str
    reference: str = ""
    documents: str = ""


@dataclass(frozen=True)
class Anchors:
    """``scores`` in [0, 1], one for each example, by the judge of version ``judge``."""

    examples: tuple[Labelled, ...]
    scores: tuple[float, ...]
    judge: str


def freeze(path: Path, examples: Sequence[Labelled], scores: Sequence[float | None], judge: str) -> int:
    """Write the examples that have a score; how many. Replaces the file at once. Raises OSError."""
    rows = [
        _Row(one.question, one.answer, "right" if one.right else "wrong", score, judge, one.reference, one.documents)
        for one, score in zip(examples, scores, strict=True)
        if score is not None
    ]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text("".join(json.dumps(msgspec.to_builtins(row), ensure_ascii=False) + "\n" for row in rows), "utf-8")
    draft.replace(path)
    return len(rows)


def read_anchors(path: Path) -> Anchors:
    """Raises LabelError, naming the line."""
    rows: list[_Row] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"{path.name} cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=_Row)
        except msgspec.DecodeError as error:
            raise LabelError(f"{path.name} line {number}: {error}") from None
        if not 0.0 <= row.score <= 1.0:
            raise LabelError(f"{path.name} line {number}: score: {row.score!r} is not in [0, 1]")
        if rows and row.judge != rows[0].judge:
            raise LabelError(f"{path.name} line {number}: has another judge than the line before: freeze it as a whole")
        rows.append(row)
    if not rows:
        raise LabelError(f"{path.name} has no anchors")
    examples = tuple(
        Labelled(row.question, row.answer, row.label == "right", row.reference, row.documents) for row in rows
    )
    return Anchors(examples, tuple(row.score for row in rows), rows[0].judge)


@step("score anchors")
def score_anchors(settings: Settings, tenant: str, judge: JudgeSpec, anchors: Anchors) -> JudgeDrift:
    """The anchors judged anew, past the cache, against the frozen scores. A changed judge is not compared."""
    if anchors.judge != judge_version(judge.model, judge.criteria):
        reason = f"frozen by judge {anchors.judge}, which is not the prompt's any more: freeze them anew"
        return JudgeDrift(JudgeState.UNKNOWN, reason, 0, 0, 0, 0.0, 1.0)
    return decide_judge_drift(anchors.scores, ask_judge(settings, tenant, judge, anchors.examples, fresh=True))
