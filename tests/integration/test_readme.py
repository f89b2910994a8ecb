"""The README is true: its commands and its example run, in order, on a real stack of their own.

The stack then loses Prefect and MLflow, and goes on answering and rolling back.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PATIENCE = 300.0
KNOWN_EXITS = {"release": {0}, "status": {0}}


def fenced(language: str, containing: str) -> str:
    """The fenced block of the README that contains a text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if containing in block)


def commands() -> list[list[str]]:
    """The lines of the block that shows one's own prompt, without comments."""
    lines = fenced("", "promptyard up --detach").splitlines()
    return [shlex.split(line.split("#")[0])[1:] for line in lines if line.startswith("promptyard ")]


@dataclass
class Readme:
    """What each command of the README printed, and the stack that it left running."""

    home: Path
    environment: Mapping[str, str]
    printed: dict[str, str]

    @property
    def stack(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "stack.json").read_text()))

    @property
    def key(self) -> str:
        return (self.home / "key").read_text().strip()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deployments.cli", *arguments],
            cwd=ROOT,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def ask(self, question: str, cache: str = "default") -> httpx.Response:
        return httpx.post(
            f"{self.stack['urls']['gateway']}/v1/chat/completions",
            headers={"Authorization": f"Bearer {self.key}"},
            json={
                "model": "prompt:help-centre",
                "variables": {"question": question},
                "promptyard": {"cache": cache},
            },
            timeout=30,
        )


@pytest.fixture(scope="module")
def readme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readme]:
    home = tmp_path_factory.mktemp("readme")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PROMPTYARD_", "PREFECT_"))}
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "MLFLOW_TRACKING_URI"):
        kept.pop(name, None)
    shown = Readme(home, kept | {"PROMPTYARD_HOME": str(home), "COLUMNS": "120"}, {})
    try:
        for command in commands():
            if command[0] == "down":
                break
            done = shown.run(*command)
            assert done.returncode == 0, f"promptyard {shlex.join(command)}\n{done.stdout}\n{done.stderr}"
            shown.printed[command[0]] = done.stdout
        yield shown
    finally:
        shown.run("down")


def test_the_commands_run_and_say_what_the_readme_says(readme: Readme) -> None:
    assert [command[0] for command in commands()] == [
        "up",
        "documents",
        "release",
        "traffic",
        "versions",
        "costs",
        "status",
        "down",
    ]
    assert "promptyard is up" in readme.printed["up"]
    assert "promoted" in readme.printed["release"].lower()
    assert "1.0.0" in readme.printed["versions"]


def test_the_example_of_an_application_runs(readme: Readme) -> None:
    example = fenced("python", "from openai import OpenAI")
    example = example.replace("http://127.0.0.1:8080", readme.stack["urls"]["gateway"]).replace('"py_..."', "KEY")
    program = f"import os\nKEY = os.environ['README_KEY']\n{example}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**readme.environment, "README_KEY": readme.key},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answer, facts = done.stdout.strip().splitlines()
    assert "30 days" in answer
    assert facts.startswith("1.0.0 ")


def test_a_wrong_spec_says_what_the_readme_says_and_changes_nothing(readme: Readme, tmp_path: Path) -> None:
    shown = fenced("", "$ promptyard release prompt.yaml").splitlines()[2:]
    assert len(shown) == 2
    source = (ROOT / "deployments/prompts/help-centre/prompt.yaml").read_text(encoding="utf-8")
    broken = tmp_path / "prompt.yaml"
    broken.write_text(source.replace("{{context}}", "{{context}} {{topic}}", 1), encoding="utf-8")
    before = readme.run("versions", "help-centre", "--json").stdout
    done = readme.run("release", str(broken))
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert all(" ".join(line.split()) in said for line in shown)
    assert readme.run("versions", "help-centre", "--json").stdout == before


def test_without_prefect_and_mlflow_it_answers_and_rolls_back(readme: Readme) -> None:
    overlay = readme.home / "next.yaml"
    base = ROOT / "deployments/prompts/help-centre/story/1.1.0.yaml"
    overlay.write_text(f"extends: {base}\n", encoding="utf-8")
    released = readme.run("release", str(overlay), "--json")
    assert released.returncode == 0, released.stderr
    assert json.loads(released.stdout)["stage"] == "canary"
    for service in readme.stack["services"]:
        if service["name"] in ("prefect", "mlflow", "worker"):
            os.killpg(service["process"]["pid"], signal.SIGKILL)
    assert readme.ask("How long is the free trial?", cache="bypass").status_code == 200
    done = readme.run("rollback", "help-centre", "--json")
    assert done.returncode == 0, done.stderr
    active = httpx.get(
        f"{readme.stack['urls']['gateway']}/v1/prompts/help-centre",
        headers={"Authorization": f"Bearer {readme.key}"},
        timeout=10,
    ).json()
    assert (active["stable"], active["release"]) == ("1.0.0", None)


def test_nothing_is_left_running(readme: Readme) -> None:
    pids = [service["process"]["pid"] for service in readme.stack["services"] if service.get("process")]
    assert readme.run("down").returncode == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists() and _alive(pid)] == []


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
