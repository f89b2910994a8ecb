"""A broken spec is refused with a line that names the place and what to do; blocks' defaults give way to the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.specs.reading import SpecError, read_spec
from tests.tasks.specs.spec_files import changed, write_spec

SYSTEM = "template.0.content"
USER = "template.1.content"


def problems(path: Path, defaults: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    with pytest.raises(SpecError) as refused:
        read_spec(path, defaults)
    assert str(path) in str(refused.value)
    return "\n".join(refused.value.problems)


def test_a_right_spec_is_read_with_its_datasets(tmp_path: Path) -> None:
    file = read_spec(write_spec(tmp_path, changed({})))
    assert (file.spec.name, file.folder) == ("help", tmp_path)
    assert [item.id for item in (*file.golden, *file.must_pass)] == ["g-1", "m-1"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({USER: "{{question}} {{tone}}"}, ("{{tone}}", "not declared under 'variables'", "{{context}}")),
        ({"retrieval": None}, ("{{context}}", "not declared")),
        ({"retrieval.query": "{{topic}}"}, ("retrieval.query uses {{topic}}", "not declared")),
        ({SYSTEM: "Answer."}, ("retrieval fills {{context}}", "does not use it")),
        ({"variables.context": {}}, ("{{context}} is filled by retrieval", "take it out of 'variables'")),
        ({"variables.tone": {}}, ("'tone'", "declared but never used")),
        ({"variables.my-tone": {}}, ("variables: 'my-tone'", "letters, digits and underscores only")),
        ({SYSTEM: "{{context}}\nDear {{question"}, (SYSTEM, "line 2, column 6", "never closed", "write '\\{{'")),
        ({SYSTEM: "{{context}}\n\n  {{ a + b }}"}, (SYSTEM, "line 3, column 3", "nothing else is evaluated")),
        ({SYSTEM: "{{context.__class__}}"}, (SYSTEM, "line 1, column 1", "is not a variable")),
        ({"template.0.role": "boss"}, ("template.0.role", "'system'", "'user'")),
        ({"template": []}, ("template", "at least 1")),
        ({"tempalte": []}, ("tempalte: there is no such field; is it misspelt?",)),
        ({"model.temprature": 1}, ("model.temprature: there is no such field; is it misspelt?",)),
        ({"model": None}, ("model: is missing",)),
        ({"name": None}, ("name: is missing",)),
        ({"name": "Help Centre"}, ("name:", "pattern")),
        ({"schema": 2}, ("schema:", "1")),
        ({"version": "1.0"}, ("version: '1.0' is not a semantic version such as 1.2.0",)),
        ({"version": 1.0}, ("version:", "string")),
        ({"version": "01.0.0"}, ("version:", "such as 1.2.0")),
        ({"version": "1.0.0\n"}, ("version:", "such as 1.2.0")),
        ({"version": "1.0.0-rc.1"}, ("version:", "such as 1.2.0")),
        ({"version": "1٠.0.0"}, ("version:", "such as 1.2.0")),
        ({"version": f"1.0.{'1' * 60}"}, ("version:", "such as 1.2.0")),
        ({"model.chain": ["openai"]}, ("model.chain: 'openai' is not 'provider/model', such as 'openai/",)),
        ({"model.chain": ["openai/a", "/b"]}, ("model.chain: '/b' is not 'provider/model'",)),
        ({"model.chain": []}, ("model.chain", "at least 1")),
        ({"model.temperature": 3}, ("model.temperature", "less than or equal to 2")),
        ({"model.timeout": "2m"}, ("model.timeout", "less than or equal to 60")),
        ({"gate.judge": {"model": "gpt"}}, ("gate.judge.model: 'gpt' is not 'provider/model'",)),
        ({"gate.judge": {"criteria": []}}, ("gate.judge.criteria", "at least 1")),
        ({"tools": ["look up"]}, ("tools: 'look up' cannot be a tool's name", "GET /v1/tools")),
        ({"tools": ["calculate", "calculate"]}, ("tools: a tool is named twice",)),
        ({"tools": ["x"] * 17}, ("tools", "at most 16")),
        ({"tools": "calculate"}, ("tools", "write a list")),
        (
            {"retrieval": None, SYSTEM: "Answer.", "tools": ["search_documents"]},
            ("search_documents looks into the prompt's collection", "'retrieval'"),
        ),
        (
            {"tools": ["calculate"], "model.params": {"tools": [{"function": {"name": "calculate"}}]}},
            ("offers a tool of its own that is called 'calculate' too",),
        ),
        ({"cache.stale_for": "-1h"}, ("cache.stale_for: '-1h' is not a duration",)),
        ({"cache.stale_for": -1}, ("cache.stale_for", "greater than or equal to 0")),
        ({"cache.stale_for": "31d"}, ("cache.stale_for", "less than or equal to 2592000")),
        ({"canary.steps": [10, 5]}, ("canary.steps: steps must grow", "such as [10, 25, 50]")),
        ({"canary.steps": [10, 10]}, ("canary.steps: steps must grow",)),
        ({"canary.steps": []}, ("canary.steps: steps must grow",)),
        ({"canary.steps": [0, 10]}, ("canary.steps: steps must grow",)),
        ({"canary.steps": [0.001]}, ("canary.steps: steps must grow, from 0.01",)),
        ({"canary.steps": [50, 100]}, ("canary.steps: steps must grow", "at most 95 percent")),
        ({"canary.steps": [float("nan")]}, ("canary.steps.0", "finite")),
        ({"canary.window": "soon"}, ("canary.window: 'soon' is not a duration: write 90s, 15m, 24h or 7d",)),
        ({"cache.ttl": float("inf")}, ("cache.ttl", "finite")),
        ({"approval": "maybe"}, ("approval", "'none' or 'required'")),
        ({"budget.daily_usd": 0}, ("budget.daily_usd", "greater than 0")),
        (
            {"gate.assertions": [{"type": "max_words", "value": "9"}]},
            ("gate.assertions.0", "needs a value of type int"),
        ),
        ({"gate.assertions": [{"type": "max_words", "value": True}]}, ("gate.assertions.0", "of type int")),
        ({"gate.assertions": [{"type": "contains"}]}, ("gate.assertions.0", "'contains' needs a value of type str")),
        ({"gate.assertions": [{"type": "refuses"}]}, ("gate.assertions.0", "'refuses' needs true or false")),
        ({"gate.assertions": [{"type": "regex", "value": "(a"}]}, ("gate.assertions.0", "not a regular expression")),
        ({"gate.assertions": [{"type": "cites", "value": True}]}, ("gate.assertions.0", "'cites' needs the id")),
        ({"gate.assertions": [{"type": "rhymes"}]}, ("gate.assertions.0.type", "'contains'")),
        ({"gate.golden": "gold.jsonl"}, ("gold.jsonl: there is no such file beside the spec",)),
        ({"gate.golden": "."}, ("cannot be read",)),
    ],
    ids=str,
)
def test_a_broken_spec_is_refused_by_name(tmp_path: Path, changes: Mapping[str, Any], words: tuple[str, ...]) -> None:
    said = problems(write_spec(tmp_path, changed(changes)))
    for word in words:
        assert word in said


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    said = problems(write_spec(tmp_path, changed({"version": "1", "model.chain": ["x"], "tone": 1})))
    assert [line.split(":")[0] for line in said.splitlines()] == ["version", "model.chain", "tone"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [help", ("is not YAML", "line 1, column 12")),
        ("a: b: c", ("is not YAML", "line 1, column 5")),
        ("- a\n- b\n", ("must be a mapping",)),
        ("", ("must be a mapping",)),
        ("!!python/object/apply:os.getcwd []", ("is not YAML", "could not determine a constructor")),
        ("extends: prompt.yaml\n", ("circle",)),
        ("extends: ../nowhere.yaml\n", ("there is no such file",)),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as refused:
        read_spec(write_spec(tmp_path, text))
    for word in words:
        assert word in str(refused.value)


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    assert "there is no such file" in problems(tmp_path / "prompt.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    assert "cannot be read" in problems(tmp_path / "latin.yaml")


def test_a_circle_of_two_files_ends(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("extends: prompt.yaml\n")
    with pytest.raises(SpecError, match="circle"):
        read_spec(write_spec(tmp_path, "extends: other.yaml\n"))


def test_a_file_that_extends_another_changes_whole_sections_and_uses_its_datasets(tmp_path: Path) -> None:
    write_spec(tmp_path, changed({"description": "below"}))
    (tmp_path / "story").mkdir()
    above = tmp_path / "story" / "1.1.0.yaml"
    above.write_text("extends: ../prompt.yaml\nversion: 1.1.0\nmodel: {chain: [openai/other]}\n")
    file = read_spec(above)
    assert (file.spec.version, file.spec.description) == ("1.1.0", "below")
    assert (file.spec.model.chain, file.spec.model.max_tokens) == (("openai/other",), None)
    assert (file.path, file.folder, file.golden[0].id) == (above, tmp_path, "g-1")


def test_blocks_give_defaults_and_the_file_wins(tmp_path: Path) -> None:
    defaults = {
        "gate": {"margin": 0.2, "floor": 0.5, "alpha": 0.1, "judge": {"model": "acme/judge"}},
        "canary": {"steps": [1.0, 2.0], "margin": 0.3},
    }
    own = {"gate.margin": 0.01, "gate.judge": {"criteria": ["tone"]}, "canary.steps": [20]}
    spec = read_spec(write_spec(tmp_path, changed(own)), defaults).spec
    assert (spec.gate.margin, spec.gate.floor, spec.gate.alpha) == (0.01, 0.5, 0.1)
    assert (spec.gate.judge.model, spec.gate.judge.criteria) == ("acme/judge", ("tone",))
    assert (spec.canary.steps, spec.canary.margin) == ((20.0,), 0.3)


def test_a_section_that_the_file_leaves_out_is_the_blocks(tmp_path: Path) -> None:
    path = write_spec(tmp_path, changed({}))
    spec = read_spec(path, {"canary": {"steps": [7.0]}}).spec
    assert spec.canary.steps == (7.0,)
    assert read_spec(path).spec.canary.steps == (10.0, 25.0, 50.0)


def test_defaults_do_not_hide_a_section_that_is_no_mapping(tmp_path: Path) -> None:
    assert "gate" in problems(write_spec(tmp_path, changed({"gate": [1]})), {"gate": {"margin": 0.1}})


@pytest.mark.parametrize(
    ("written", "on", "ttl"),
    [
        ("off", False, 10.0),
        ("on", True, 10.0),
        ("{on: true, ttl: 30s}", True, 30.0),
        ('{"on": false}', False, 10.0),
        ("{ttl: 5s}", False, 5.0),
    ],
)
def test_a_layer_of_the_cache_is_switched_as_people_write_it(
    tmp_path: Path, written: str, on: bool, ttl: float
) -> None:
    path = write_spec(tmp_path, changed({}))
    path.write_text(f"{path.read_text()}\ncache: {{local: {written}}}\n")
    local = read_spec(path).spec.cache.local
    assert (local.on, local.ttl) == (on, ttl)


@pytest.mark.parametrize(
    ("written", "mode"), [("off", "off"), ("on", "on"), ("shadow", "shadow"), ("{mode: on}", "on")]
)
def test_the_semantic_layer_is_switched_by_its_mode_alone(tmp_path: Path, written: str, mode: str) -> None:
    path = write_spec(tmp_path, changed({}))
    path.write_text(f"{path.read_text()}\ncache: {{semantic: {written}}}\n")
    assert read_spec(path).spec.cache.semantic.mode == mode


def test_a_misspelt_layer_is_refused(tmp_path: Path) -> None:
    assert "cache.context.tttl: there is no such field" in problems(
        write_spec(tmp_path, changed({"cache.context": {"tttl": "5s"}}))
    )
