"""The practice judge held against public labels, through the real prompts and readers: what calibration says of it.

The data are not part of the project: they are looked for in ``../shared/data``, or where PROMPTYARD_DATA says.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.simulator.practice.replying import Prompt, reply
from tasks.evaluators.base import Answered
from tasks.evaluators.judge import judge_messages, read_judgement
from tasks.evaluators.pairwise import Asked, prefer
from tasks.statistics.agreement import calibrate, share

DATA = Path(os.environ.get("PROMPTYARD_DATA") or Path(__file__).parents[3] / "shared" / "data")
MODEL = "gpt-4.1"


def _needed(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not there: it is looked for in ../shared/data, or where PROMPTYARD_DATA says")
    return path


def _asked(messages: Sequence[object]) -> str:
    return reply(Prompt(MODEL, tuple((one["role"], one["content"]) for one in messages)))  # type: ignore[index]


def test_right_and_hallucinated_answers_against_their_source() -> None:
    lines = _needed("halueval/qa_one-turn_data.json").read_text(encoding="utf-8").splitlines()[:100]
    judged: list[tuple[bool, bool]] = []
    for line in lines:
        row = json.loads(line)
        for label, key in ((True, "right_answer"), (False, "hallucinated_answer")):
            messages = judge_messages(
                question=row["question"], answer=row[key], criteria=("accuracy",), documents=row["knowledge"]
            )
            score = read_judgement(_asked(messages), ("accuracy",)).score
            if score is not None:
                judged.append((label, score >= 0.5))
    assert len(judged) >= 190, "verdicts are readable"
    found = calibrate(judged, 0.05)
    print(f"halueval: {found}")
    assert found.kappa.low > 0.0
    assert found.youden is not None
    assert bool(found.warnings) is (found.youden.low < 0.5)


def test_instructions_with_two_outputs_in_both_orders() -> None:
    rows = json.loads(_needed("llmbar/LLMBar__Natural__dataset.json").read_text(encoding="utf-8"))
    shown = [(Answered(row["input"], row["output_1"]), row["output_2"]) for row in rows]

    def ask(asked: Sequence[Asked]) -> list[str]:
        return [_asked(one.messages) for one in asked]

    found = prefer(ask, shown)
    known = [(row["label"], one) for row, one in zip(rows, found, strict=True) if one.share is not None]
    decided = [(label, one.share) for label, one in known if one.share != 0.5]
    right = sum((label == 1) == (value == 1.0) for label, value in decided)
    print(
        f"llmbar: {len(known)} readable, {sum(one.flipped for _, one in known)} flipped, "
        f"{right} of {len(decided)} right"
    )
    assert len(known) >= 0.9 * len(rows), "verdicts are readable"
    assert share(right, max(1, len(decided))).high > 0.3
