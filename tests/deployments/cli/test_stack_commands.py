import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deployments.cli.main import build
from deployments.cli.open_releases import print_open_releases
from deployments.cli.stack_view import StackView, print_running, print_status
from deployments.stack.home import StackHome
from deployments.stack.processes import ProcessIdentity
from deployments.stack.report import Report
from deployments.stack.state import Phase, ServiceState, StackState, Status

REPOSITORY = Path(__file__).resolve().parents[3]
HEAVY = {"prefect", "mlflow", "sqlalchemy", "evidently", "pandas", "openai", "redis"}


def stack(home: StackHome, phase: Phase, *services: ServiceState) -> StackState:
    return StackState(
        stack_id=home.stack_id,
        home=str(home.root),
        phase=phase,
        supervisor=ProcessIdentity(1, "long ago"),
        started_at=10.0,
        ready_at=22.0 if phase is Phase.READY else None,
        urls={"gateway": "http://127.0.0.1:8080", "prefect": "http://127.0.0.1:4200"},
        notes=["Model providers: the simulator, a stand-in."],
        services=list(services),
    )


@pytest.fixture
def home(tmp_path: Path) -> StackHome:
    return StackHome.at(tmp_path)


def paper(width: int = 80) -> Console:
    return Console(file=StringIO(), width=width, force_terminal=False)


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_status_without_a_stack(tmp_path: Path) -> None:
    result = CliRunner().invoke(build(), ["status"], env={"PROMPTYARD_HOME": str(tmp_path)})
    assert result.exit_code == 3


def test_status_for_machines_without_a_stack(tmp_path: Path) -> None:
    result = CliRunner().invoke(build(), ["status", "--json"], env={"PROMPTYARD_HOME": str(tmp_path)})
    assert json.loads(result.stdout) == {
        "home": str(tmp_path.resolve()),
        "phase": "none",
        "healthy": False,
        "releases": [],
        "urls": {},
        "services": [],
    }


def test_down_without_a_stack_changes_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(build(), ["down"], env={"PROMPTYARD_HOME": str(tmp_path / "none")})
    assert result.exit_code == 0
    assert not (tmp_path / "none").exists()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from deployments.cli.main import build; build(); "
        f"print(sorted(set(sys.modules) & {HEAVY!r} | ({{'pydantic'}} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_an_expected_error_is_a_sentence_and_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environ = os.environ | {"PROMPTYARD_HOME": str(tmp_path / "file" / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "up"],
        cwd=REPOSITORY,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "error: cannot write to" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_terminal_each_change_is_one_line(home: StackHome) -> None:
    out = paper()
    starting = ServiceState(name="gateway", status=Status.STARTING, started_at=10.0, ready_at=10.0)
    ready = ServiceState(name="gateway", status=Status.READY, started_at=10.0, ready_at=11.5)
    with StackView(out=out) as view:
        for service in (starting, starting, ready, ready):
            view.show(stack(home, Phase.STARTING, service))
    lines = written(out).splitlines()
    assert [line.split() for line in lines] == [["gateway", "starting", "0.0", "s"], ["gateway", "ready", "1.5", "s"]]


def test_ready_is_announced_once(home: StackHome) -> None:
    announced: list[StackState] = []
    with StackView(on_ready=announced.append, out=paper()) as view:
        for _ in range(3):
            view.show(stack(home, Phase.READY))
    assert len(announced) == 1


def test_the_end_says_where_everything_is_and_shows_no_key(home: StackHome) -> None:
    home.key_file.write_text("py_secret")
    out = paper(200)
    print_running(home, stack(home, Phase.READY), foreground=True, out=out)
    text = written(out)
    for expected in ("http://127.0.0.1:8080", "http://127.0.0.1:4200", str(home.key_file), "in 12 s", "a stand-in"):
        assert expected in text
    assert "py_secret" not in text


def test_status_names_what_crashed_and_why(home: StackHome) -> None:
    crashed = ServiceState(
        name="mlflow", status=Status.CRASHED, detail="ended with status 1\nno disk", log="mlflow.log"
    )
    out = paper(200)
    print_status(Report(home, "ready", stack(home, Phase.READY, crashed)), out=out)
    assert "mlflow ended with status 1\nno disk\nLog: mlflow.log" in written(out)


def test_a_stack_with_a_crashed_service_is_not_healthy(home: StackHome) -> None:
    fine = ServiceState(name="a", status=Status.READY)
    assert Report(home, "ready", stack(home, Phase.READY, fine)).healthy
    broken = stack(home, Phase.READY, fine, ServiceState(name="b", status=Status.CRASHED))
    assert not Report(home, "ready", broken).healthy
    assert not Report(home, "orphaned", stack(home, Phase.READY, fine)).healthy


def test_status_tells_the_open_releases_and_where_they_stand() -> None:
    out = paper(120)
    release = {"prompt": "help", "version": "1.1.0", "share_percent": 0.0, "reason": "12 of 50 mirrored calls compared"}
    print_open_releases([release | {"stage": "mirror"}, release | {"stage": "canary", "share_percent": 10.0}], out)
    assert written(out).splitlines() == [
        "help 1.1.0: compared on mirrored calls, which no user sees",
        "  12 of 50 mirrored calls compared",
        "help 1.1.0: canary, 10 % of the users",
        "  12 of 50 mirrored calls compared",
    ]
