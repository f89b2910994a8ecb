import stat
from pathlib import Path

import msgspec
import pytest

from deployments.stack.home import StackHome
from deployments.stack.processes import ProcessIdentity
from deployments.stack.report import report
from deployments.stack.state import Phase, ServiceState, StackState, Status, apply_environment, load_stack, save_stack

SECRET = "redis://user:hunter2@db.example:6379/0"


@pytest.fixture
def state(home: StackHome) -> StackState:
    home.prepare()
    return StackState(
        stack_id=home.stack_id,
        home=str(home.root),
        phase=Phase.READY,
        supervisor=ProcessIdentity(1, "long ago"),
        started_at=10.0,
        ready_at=12.5,
        urls={"gateway": "http://127.0.0.1:8080"},
        environment={"PREFECT_API_URL": "http://127.0.0.1:4200/api", "PROMPTYARD_STATE_REDIS_URL": SECRET},
        services=[ServiceState(name="gateway", status=Status.READY, process=ProcessIdentity(2, "then"))],
    )


def test_what_is_saved_is_loaded_and_is_the_owners_alone(home: StackHome, state: StackState) -> None:
    save_stack(home, state)
    assert load_stack(home.root) == state
    assert stat.S_IMODE(home.state_file.stat().st_mode) == 0o600
    assert [path.name for path in home.root.glob("*.tmp")] == []


@pytest.mark.parametrize("content", ["", "{", '{"phase": "dancing"}', "[]"])
def test_a_file_that_cannot_be_read_is_no_state(home: StackHome, content: str) -> None:
    home.prepare()
    home.state_file.write_text(content)
    assert load_stack(home) is None


def test_no_file_is_no_state(home: StackHome) -> None:
    assert load_stack(home) is None


def test_what_the_shell_set_wins_and_empty_is_not_set(state: StackState) -> None:
    environ = {"PREFECT_API_URL": "http://elsewhere/api", "PROMPTYARD_STATE_REDIS_URL": ""}
    apply_environment(state, environ)
    assert environ == {"PREFECT_API_URL": "http://elsewhere/api", "PROMPTYARD_STATE_REDIS_URL": SECRET}


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.FAILED])
def test_a_stack_that_is_gone_says_nothing(state: StackState, phase: Phase) -> None:
    environ: dict[str, str] = {}
    apply_environment(msgspec.structs.replace(state, phase=phase), environ)
    apply_environment(None, environ)
    assert environ == {}


def test_no_report_shows_what_the_environment_holds(home: StackHome, state: StackState) -> None:
    save_stack(home, state)
    assert "hunter2" not in repr(state)
    assert "hunter2" not in repr(report(home).as_json())


def test_homes_are_told_apart_by_their_place(tmp_path: Path) -> None:
    assert StackHome.at(tmp_path / "a").stack_id == StackHome.at(tmp_path / "b" / ".." / "a").stack_id
    assert StackHome.at(tmp_path / "a").stack_id != StackHome.at(tmp_path / "b").stack_id
