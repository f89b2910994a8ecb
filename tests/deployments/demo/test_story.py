"""The parts of the demo that need no stack: its specs are valid, its article says what the story changes."""

from pathlib import Path

import httpx
import pytest
import yaml

from deployments.demo.stage import CANARY, CONTENT, Stage, StoryBroken, expect
from deployments.demo.story import AFTER, BEFORE, DOCUMENT
from tasks.specs.reading import read_spec


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0", "1.2.0", "1.3.0"])
def test_the_demo_plays_the_real_specs_with_a_shorter_canary(version: str, tmp_path: Path) -> None:
    base = CONTENT / ("prompt.yaml" if version == "1.0.0" else f"story/{version}.yaml")
    path = tmp_path / f"{version}.yaml"
    path.write_text(yaml.safe_dump({"extends": str(base), "canary": CANARY}), encoding="utf-8")
    played, shipped = read_spec(path), read_spec(base)
    assert played.spec.version == version
    assert played.spec.template == shipped.spec.template
    assert (played.golden, played.must_pass) == (shipped.golden, shipped.must_pass)
    assert played.spec.canary.margin == 0.10


def test_the_article_says_what_the_story_changes() -> None:
    text = (CONTENT / "documents" / f"{DOCUMENT}.md").read_text(encoding="utf-8")
    assert BEFORE in text
    assert AFTER not in text


def test_a_step_that_does_not_happen_breaks_the_story() -> None:
    expect(True, "never said")
    with pytest.raises(StoryBroken, match="no answer came"):
        expect(False, "no answer came")


class PausingStage(Stage):
    """A stage that only notes what becomes of its schedules."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def _deployment(self, name: str) -> str:
        return name

    def _schedule(self, deployment: str, what: str) -> None:
        self.noted.append(f"{what} {deployment}")
        if what == "pause" and deployment == "broken":
            raise httpx.ConnectError("no answer")


def test_schedules_go_on_after_the_story_whatever_happened() -> None:
    stage = PausingStage()
    with stage.without_schedules("score", "advance"):
        assert stage.noted == ["pause score", "pause advance"]
    assert stage.noted[2:] == ["resume score", "resume advance"]
    with pytest.raises(httpx.ConnectError), stage.without_schedules("score", "broken"):
        pass
    assert stage.noted[-2:] == ["resume score", "resume broken"]
