from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import Engine, func, select

from deployments.cli.prefect_runs import shown
from deployments.cli.release import InvalidSpec, exit_status
from deployments.cli.release_view import ShownRelease, as_plain, print_release
from deployments.cli.stages import StageView
from deployments.stack.errors import StackError
from gateway.errors import NotFound
from gateway.storage.engine import reading
from gateway.storage.models import PromptVersionRow
from tests.deployments.cli.conftest import Promptyard

SPEC = """
schema: 1
name: shop
version: 1.0.0
template: [{role: user, content: "Answer: {{question}}"}]
variables: {question: {}}
model: {chain: [openai/gpt-4.1-mini]}
gate: {golden: golden.jsonl}
"""


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "golden.jsonl").write_text('{"id": "g1", "variables": {"question": "Hi?"}, "reference": "Hello."}\n')
    (folder / "prompt.yaml").write_text(SPEC)
    return folder


@pytest.mark.parametrize(
    ("broken", "lines"),
    [
        (SPEC.replace("{question: {}}", "{}"), ["question"]),
        (SPEC.replace("version: 1.0.0", "version: one\nmisspelt: 1"), ["version:", "misspelt: there is no such field"]),
        ("name: [", ["is not YAML"]),
    ],
)
def test_every_problem_of_a_spec_is_a_line_and_nothing_is_registered(
    promptyard: Promptyard, prompt: Path, ledger: Engine, broken: str, lines: list[str]
) -> None:
    (prompt / "prompt.yaml").write_text(broken)
    error = promptyard("release", str(prompt)).exception
    assert isinstance(error, InvalidSpec)
    told = error.message.splitlines()
    assert str(prompt / "prompt.yaml") in told[0]
    assert len(told) == 1 + len(lines)
    assert all(expected in line for expected, line in zip(lines, told[1:], strict=True))
    with reading(ledger) as session:
        assert session.scalar(select(func.count()).select_from(PromptVersionRow)) == 0


def test_a_broken_golden_line_is_named_by_number(promptyard: Promptyard, prompt: Path) -> None:
    with (prompt / "golden.jsonl").open("a") as file:
        file.write("{not json\n")
    error = promptyard("release", str(prompt / "prompt.yaml")).exception
    assert isinstance(error, InvalidSpec)
    assert "golden.jsonl" in error.message
    assert "2" in error.message.splitlines()[1]


def test_without_a_stack_the_hint_says_how_to_start_one(promptyard: Promptyard, prompt: Path) -> None:
    error = promptyard("release", str(prompt)).exception
    assert isinstance(error, StackError)
    assert "promptyard up" in error.hint
    assert isinstance(promptyard("approve", "rel_1", "--by", "Ada").exception, NotFound), "the ledger knows without one"


def test_servers_that_do_not_answer_are_named(promptyard: Promptyard, prompt: Path) -> None:
    error = promptyard("release", str(prompt), PREFECT_API_URL="http://127.0.0.1:1/api").exception
    assert isinstance(error, StackError)
    assert error.message == "Prefect does not answer at http://127.0.0.1:1/api"


@pytest.mark.parametrize(
    ("stage", "status"),
    [("promoted", 0), ("canary", 0), ("awaiting_approval", 0), ("refused", 2), ("inconclusive", 2), ("error", 1)],
)
def test_exit_status_by_outcome(stage: str, status: int) -> None:
    assert exit_status(stage) == status


def ended(stage: str) -> ShownRelease:
    return ShownRelease(
        id="rel_01m7y0m7ww561arx1jf1fx14vt",
        tenant="default",
        prompt="help-centre",
        version="1.2.0",
        baseline="1.0.0",
        stage=stage,
        share_percent=0.0,
        reasons=("must-pass items failed: " + ", ".join(f"must-pass:m-{n:03}" for n in range(9)), "[bold]worse[/]"),
        gate="fail",
        verdict={"outcome": "fail"},
        links={"Prefect run": "http://127.0.0.1:4200/runs/flow-run/8b0ae244-5a9a-4320-bc86-acd456353b4d"},
    )


@pytest.mark.parametrize("width", [80, 120])
def test_the_panel_fits_and_shows_reasons_as_they_are(width: int) -> None:
    out = Console(file=StringIO(), width=width)
    print_release(ended("refused"), out)
    assert isinstance(out.file, StringIO)
    text = out.file.getvalue()
    assert "help-centre 1.2.0: refused" in text
    assert "[bold]worse[/]" in text  # what comes from a run is text, never markup
    assert "runs/flow-run/8b0ae244-5a9a-4320-bc86-acd456353b4d" in text  # an address is never cut
    assert all(len(line) <= width for line in text.splitlines() if "http" not in line)


def test_for_machines() -> None:
    plain = as_plain(ended("refused"))
    assert (plain["stage"], plain["gate"], plain["share_percent"]) == ("refused", "fail", 0.0)
    assert plain["links"]["prefect_run"].startswith("http://")


class Step:
    """Something with hooks, as Prefect's flows and tasks have them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.on_running_hooks: list[Any] = []
        self.on_completion_hooks: list[Any] = []
        self.on_failure_hooks: list[Any] = []

    def run(self, *, fails: bool = False) -> None:
        for hook in (*self.on_running_hooks, *(self.on_failure_hooks if fails else self.on_completion_hooks)):
            hook(self, None, None)


def test_stages_are_lines_and_the_hooks_are_taken_off_again() -> None:
    out = Console(file=StringIO(), width=80)
    gate, answering = Step("gate_prompt"), Step("answer with 1.0.0")
    with StageView(out) as view, shown(view, {gate: "gate"}, {answering: ""}):
        gate.run()
        answering.run()
        gate.run(fails=True)
    assert isinstance(out.file, StringIO)
    lines = out.file.getvalue().splitlines()
    assert [line.split()[:2] for line in lines] == [["gate", "..."], ["✓", "gate"], ["gate", "..."], ["✗", "gate"]]
    assert not any((*gate.on_running_hooks, *gate.on_completion_hooks, *answering.on_running_hooks))


def test_an_error_marks_the_stage_that_it_ended() -> None:
    out = Console(file=StringIO(), width=80)
    view = StageView(out)
    view.begin("gate")
    view.__exit__(RuntimeError, RuntimeError(), None)
    assert isinstance(out.file, StringIO)
    assert "✗ gate" in out.file.getvalue()
