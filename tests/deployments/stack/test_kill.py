"""What happens when the supervisor is killed, comes twice, or left a stale file."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import msgspec
import pytest

from deployments.stack.errors import StackError
from deployments.stack.home import StackHome
from deployments.stack.lifecycle import end_leftovers, follow, stop_stack
from deployments.stack.lock import lock_owner
from deployments.stack.processes import ProcessIdentity, identify, is_alive
from deployments.stack.report import report
from deployments.stack.state import Phase, ServiceState, StackState, Status, load_stack, save_stack
from tests.deployments.stack.conftest import processes_of, wait_until

Start = Callable[[], "subprocess.Popen[bytes]"]


def nothing(_state: StackState) -> None:
    return None


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """Somebody else's process, leader of its own group."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield child
    child.kill()
    child.wait(timeout=10)


def test_down_ends_everything(home: StackHome, start_supervisor: Start) -> None:
    supervisor = start_supervisor()
    follow(home, nothing, child=supervisor)
    assert len(processes_of(home)) == 4
    assert report(home).healthy
    assert stop_stack(home, nothing) == 3
    assert supervisor.wait(timeout=10) == 0
    assert processes_of(home) == []
    assert report(home).phase == Phase.STOPPED
    assert stop_stack(home, nothing) == 0


def test_down_after_kill_9_of_the_supervisor_leaves_no_process(home: StackHome, start_supervisor: Start) -> None:
    supervisor = start_supervisor()
    follow(home, nothing, child=supervisor)
    supervisor.kill()
    supervisor.wait(timeout=10)
    assert len(processes_of(home)) == 4
    assert report(home).phase == "orphaned"
    assert stop_stack(home, nothing) >= 3
    assert processes_of(home) == []
    assert report(home).phase == Phase.STOPPED


def test_up_after_kill_9_cleans_first(home: StackHome, start_supervisor: Start) -> None:
    first = start_supervisor()
    follow(home, nothing, child=first)
    before = set(processes_of(home))
    first.kill()
    first.wait(timeout=10)
    second = start_supervisor()
    follow(home, nothing, child=second)
    after = set(processes_of(home))
    assert len(after) == 4
    assert not before & after


def test_without_its_file_everything_is_still_found(home: StackHome, start_supervisor: Start) -> None:
    supervisor = start_supervisor()
    follow(home, nothing, child=supervisor)
    supervisor.kill()
    supervisor.wait(timeout=10)
    home.state_file.unlink()
    assert stop_stack(home, nothing) == 4
    assert processes_of(home) == []


def test_of_two_supervisors_one_wins(home: StackHome, start_supervisor: Start) -> None:
    both = [start_supervisor(), start_supervisor()]
    state = follow(home, nothing, child=both[0])
    wait_until(lambda: any(child.poll() is not None for child in both))
    assert sorted(child.poll() is None for child in both) == [False, True]
    loser = next(child for child in both if child.poll() is not None)
    winner = next(child for child in both if child.poll() is None)
    assert loser.returncode == 9
    assert state.supervisor.pid == winner.pid
    assert lock_owner(home.lock_file) == identify(winner.pid)
    assert len(processes_of(home)) == 4


def test_a_recycled_pid_is_not_killed(home: StackHome, stranger: "subprocess.Popen[bytes]") -> None:
    home.prepare()
    recycled = ProcessIdentity(stranger.pid, "another start")
    stale = StackState(
        stack_id=home.stack_id,
        home=str(home.root),
        phase=Phase.READY,
        supervisor=ProcessIdentity(stranger.pid, "another start"),
        started_at=1.0,
        services=[ServiceState(name="gateway", status=Status.READY, process=recycled)],
    )
    save_stack(home, stale)
    home.lock_file.write_text(json.dumps({"pid": stranger.pid, "started": "another start"}))
    assert stop_stack(home, nothing) == 0
    assert stranger.poll() is None
    left = load_stack(home)
    assert left is not None
    assert left.phase is Phase.STOPPED


def test_the_right_start_is_killed(home: StackHome, stranger: "subprocess.Popen[bytes]") -> None:
    """The counterpart of the test above: with the true start, the same file ends the process."""
    home.prepare()
    identity = identify(stranger.pid)
    assert identity is not None
    state = StackState(
        stack_id=home.stack_id,
        home=str(home.root),
        phase=Phase.READY,
        supervisor=ProcessIdentity(1, "long ago"),
        started_at=1.0,
        services=[ServiceState(name="gateway", status=Status.READY, process=identity)],
    )
    save_stack(home, state)
    assert end_leftovers(home) == 1
    assert not is_alive(identity)


def test_a_follower_hears_that_the_supervisor_failed(home: StackHome) -> None:
    home.prepare()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=10)
    state = StackState(
        stack_id=home.stack_id,
        home=str(home.root),
        phase=Phase.FAILED,
        supervisor=ProcessIdentity(ended.pid, "gone"),
        started_at=1.0,
        failure="gateway ended with status 1",
        hint="look there",
    )
    save_stack(home, state)
    with pytest.raises(StackError, match="gateway ended with status 1"):
        follow(home, nothing, child=ended)
    save_stack(home, msgspec.structs.replace(state, supervisor=ProcessIdentity(1, "older run")))
    with pytest.raises(StackError, match="the supervisor ended before"):
        follow(home, nothing, child=ended)
