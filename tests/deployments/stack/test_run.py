"""One supervisor in this process, real tiny services: start, crash, restart, stop."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deployments.stack.errors import StackError
from deployments.stack.home import StackHome
from deployments.stack.lifecycle import Plan, StopRequest, run_stack
from deployments.stack.processes import is_alive
from deployments.stack.service import NEVER, LogLine, Service, Steady
from deployments.stack.state import Phase, ServiceState, StackState, Status, load_stack
from tests.deployments.stack.conftest import processes_of
from tests.deployments.stack.tiny_services import FAST, crashes_once, job, parent, service, steady, stubborn


def ready(state: StackState) -> bool:
    return state.phase is Phase.READY


def run(home: StackHome, table: Sequence[Service], until: Callable[[StackState], bool] = ready) -> list[StackState]:
    """Run the table until a state satisfies ``until``; returns every state that was published."""
    stop, seen = StopRequest(), []

    def watch(state: StackState) -> None:
        seen.append(state)
        if until(state) and not stop.times:
            stop.ask()

    run_stack(home, lambda _ports: Plan(table, environ={}), watch, stop)
    return seen


def named(state: StackState, name: str) -> ServiceState:
    return next(service for service in state.services if service.name == name)


def test_services_start_after_what_they_wait_for_and_leave_nothing_behind(home: StackHome) -> None:
    table = [steady("gateway", after=("database", "cache")), job("database", after=("cache",)), steady("cache")]
    states = run(home, table)
    up = next(state for state in states if ready(state))
    assert [named(up, name).status for name in ("cache", "database", "gateway")] == [
        Status.READY,
        Status.DONE,
        Status.READY,
    ]
    cache, database, gateway = (named(up, name) for name in ("cache", "database", "gateway"))
    assert (cache.ready_at or 0) <= (database.started_at or 0)
    assert (database.ready_at or 0) <= (gateway.started_at or 0)
    assert load_stack(home) == states[-1]
    assert states[-1].phase is Phase.STOPPED
    assert not is_alive(gateway.process)
    assert processes_of(home) == []


def test_independent_services_start_together(home: StackHome) -> None:
    states = run(home, [steady("one"), steady("two")], until=lambda state: len(state.services) == 2 and ready(state))
    both = [s for s in states if all(service.status is Status.STARTING for service in s.services)]
    assert both


def test_a_service_that_ends_while_starting_is_named_with_its_last_words(home: StackHome) -> None:
    table = [steady("fine"), service("broken", "print('port is taken'); raise SystemExit(3)")]
    with pytest.raises(StackError, match=r"(?s)broken ended with status 3.*port is taken") as caught:
        run(home, table)
    assert str(home.log("broken")) in caught.value.hint
    state = load_stack(home)
    assert state is not None
    assert state.phase is Phase.FAILED
    assert "port is taken" in state.failure
    assert processes_of(home) == []


def test_a_job_that_fails_fails_the_start(home: StackHome) -> None:
    with pytest.raises(StackError, match="migration ended with status 1"):
        run(home, [job("migration", "raise SystemExit(1)"), steady("after", after=("migration",))])


def test_a_program_that_does_not_exist_is_named(home: StackHome) -> None:
    with pytest.raises(StackError, match="ghost could not be started"):
        run(home, [Service("ghost", ("/nonexistent/program",), Steady(0.1))])


def test_a_service_that_never_becomes_ready_runs_out_of_patience(home: StackHome) -> None:
    slow = service("slow", "import time; print('warming', flush=True); time.sleep(600)", patience=0.3)
    with pytest.raises(StackError, match=r"(?s)slow was not ready after 0 s.*warming"):
        run(home, [slow])
    assert processes_of(home) == []


def test_old_words_in_the_log_do_not_make_a_service_ready(home: StackHome) -> None:
    home.prepare()
    home.log("quiet").write_text("ready\n")
    quiet = service("quiet", "import time; time.sleep(600)", ready=LogLine("ready"), patience=0.3)
    with pytest.raises(StackError, match="quiet was not ready"):
        run(home, [quiet])
    assert home.log("quiet").with_suffix(".previous.log").read_text() == "ready\n"


def test_who_ignores_the_signal_is_killed_after_its_grace(home: StackHome) -> None:
    states = run(home, [stubborn("stubborn")])
    assert named(states[-1], "stubborn").status is Status.STOPPED
    assert processes_of(home) == []


def test_a_grandchild_in_a_group_of_its_own_is_found(home: StackHome, tmp_path: Path) -> None:
    pid_file = tmp_path / "grandchild"
    inside: list[int] = []

    def until(state: StackState) -> bool:
        if ready(state):
            inside.extend(processes_of(home))
        return ready(state)

    run(home, [parent("parent", pid_file)], until=until)
    assert int(pid_file.read_text()) in inside
    assert processes_of(home) == []


def test_a_crash_is_answered_by_a_restart_where_the_table_says_so(home: StackHome, tmp_path: Path) -> None:
    def back(state: StackState) -> bool:
        return named(state, "gateway").restarts == 1 and named(state, "gateway").status is Status.READY

    states = run(home, [crashes_once("gateway", tmp_path / "memory", FAST), steady("other")], until=back)
    waiting = next(named(s, "gateway") for s in states if named(s, "gateway").status is Status.RESTARTING)
    assert waiting.exit_code == 7
    assert "ended with status 7" in waiting.detail


def test_restarts_end_and_the_rest_goes_on(home: StackHome) -> None:
    failing = service(
        "failing", "print('ready', flush=True); import time; time.sleep(0.2); raise SystemExit('gone')", restart=FAST
    )

    def given_up(state: StackState) -> bool:
        return named(state, "failing").status is Status.CRASHED

    states = run(home, [failing, steady("other")], until=given_up)
    crashed = next(s for s in states if given_up(s))
    assert named(crashed, "failing").restarts == FAST.attempts
    assert "gone" in named(crashed, "failing").detail
    assert named(crashed, "other").status is Status.READY
    assert crashed.phase is Phase.READY


def test_a_service_without_restarts_is_marked_crashed(home: StackHome, tmp_path: Path) -> None:
    def crashed(state: StackState) -> bool:
        return named(state, "mlflow").status is Status.CRASHED

    states = run(home, [crashes_once("mlflow", tmp_path / "memory", restart=NEVER)], crashed)
    assert named(states[-1], "mlflow").status is Status.CRASHED


def test_a_disk_that_refuses_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StackError, match="cannot write to") as caught:
        run(StackHome.at(tmp_path / "file" / "home"), [steady("one")])
    assert "PROMPTYARD_HOME" in caught.value.hint
