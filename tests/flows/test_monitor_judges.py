"""The nightly look at judges, as the flow that a schedule starts: steady, drifting, unreadable, and not asked for."""

from pathlib import Path

import pytest
import yaml
from prefect.artifacts import Artifact

from flows.monitor_judges import JudgesRequest, WatchedJudge, monitor_judges
from tasks.evaluators.judge import judge_version
from tasks.judge_anchors import freeze
from tasks.judge_calibration import Labelled, ask_judge
from tasks.specs.reading import read_spec
from tests.flows.conftest import CONTENT, World, rows

pytestmark = pytest.mark.integration

ASKED = tuple(f"g-{number:03}" for number in range(1, 15))


def served(world: World, name: str, anchors: str) -> Path:
    """A prompt in production whose gate names these anchors."""
    gate = yaml.safe_load((CONTENT / "prompt.yaml").read_text(encoding="utf-8"))["gate"]
    judge = {**gate["judge"], "anchors": anchors} if anchors else gate["judge"]
    path = world.spec(name, gate={**gate, "floor": 0.3, "margin": 0.5, "judge": judge})
    world.serve(path)
    return path


def frozen(world: World, path: Path, shift: float) -> None:
    """Anchors beside the prompt, as if the judge had been kinder by ``shift`` when they were frozen."""
    judge = read_spec(path).spec.gate.judge
    examples = [
        Labelled(row["variables"]["question"], row["reference"], True, row["reference"])
        for row in rows("golden.jsonl", ASKED)
    ]
    assert len(examples) >= 10
    scores = [
        None if one is None else min(1.0, max(0.0, one + shift))
        for one in ask_judge(world.settings, "acme", judge, examples, fresh=True)
    ]
    freeze(path.parent / "anchors.jsonl", examples, scores, judge_version(judge.model, judge.criteria))


def look(prompt: str) -> list[WatchedJudge]:
    return monitor_judges(JudgesRequest(tenant="acme", prompt=prompt))


def test_a_steady_judge_is_left_in_peace_and_a_drifting_one_is_reported(world: World) -> None:
    path = served(world, "anchored", "anchors.jsonl")
    frozen(world, path, 0.0)
    (steady,) = look("anchored")
    assert (steady.state, steady.shift) == ("steady", 0.0)
    frozen(world, path, -0.5)
    (drifting,) = look("anchored")
    assert drifting.state == "drifting"
    assert drifting.shift > 0.2
    assert "milder" in drifting.reason
    shown = Artifact.get("judges")
    assert shown is not None
    assert shown.description == "1 of 1 judges drift"


def test_anchors_that_cannot_be_read_are_said_and_none_are_no_matter(world: World) -> None:
    served(world, "lost", "anchors.jsonl")
    (lost,) = look("lost")
    assert (lost.state, "anchors.jsonl cannot be read" in lost.reason) == ("unknown", True)
    served(world, "plain", "")
    assert look("plain") == []
