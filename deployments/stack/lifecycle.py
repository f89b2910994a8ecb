"""The life of a stack: run it in this process, start it in its own, follow it, end it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from deployments.stack.errors import StackError
from deployments.stack.home import StackHome
from deployments.stack.lock import lock_owner, supervisor_lock
from deployments.stack.ports import PortBook
from deployments.stack.processes import ProcessIdentity, identify, is_alive
from deployments.stack.readiness import log_tail
from deployments.stack.service import Service
from deployments.stack.state import Phase, ServiceState, StackState, Status, load_stack, save_stack
from deployments.stack.stopping import Group, stop_groups, sweep
from deployments.stack.supervisor import Supervisor
from gateway.clock import Clock, SystemClock

POLL = 0.05
Watch = Callable[[StackState], None]


@dataclass(frozen=True)
class Plan:
    """What to run. ``environ`` is the services' environment, ``environment`` the part other commands need."""

    services: Sequence[Service]
    environ: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    urls: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    directory: Path | None = None


@dataclass
class StopRequest:
    """Counts how often somebody asked to stop: the second time means without grace. Safe in a signal handler."""

    times: int = 0

    def ask(self, *_signal: object) -> None:
        self.times += 1


def run_stack(
    home: StackHome,
    make_plan: Callable[[PortBook], Plan],
    watch: Watch,
    stop: StopRequest,
    *,
    clock: Clock | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Run until asked to stop; nothing of the stack lives afterwards.

    Raises AlreadyRunning when another supervisor holds the home, StackError when a service does not come up.
    """
    clock = clock or SystemClock()
    home.prepare()
    with supervisor_lock(home.lock_file):
        end_leftovers(home)
        ports = PortBook()
        try:
            _run_locked(home, make_plan(ports), watch, stop, clock, wait)
        finally:
            ports.close()


def _run_locked(
    home: StackHome, plan: Plan, watch: Watch, stop: StopRequest, clock: Clock, wait: Callable[[float], None]
) -> None:
    own = identify(os.getpid()) or ProcessIdentity(os.getpid(), "")
    state = StackState(
        stack_id=home.stack_id,
        home=str(home.root),
        phase=Phase.STARTING,
        supervisor=own,
        started_at=clock.now(),
        urls=dict(plan.urls),
        notes=list(plan.notes),
        environment=dict(plan.environment),
    )

    def publish(services: list[ServiceState] | None = None, **changes: object) -> None:
        nonlocal state
        if services is not None:
            changes["services"] = services
        state = msgspec.structs.replace(state, **changes)
        save_stack(home, state)
        watch(state)

    _set_logs_aside(home, plan.services)
    supervisor = Supervisor(plan.services, home, plan.environ, publish, clock, directory=plan.directory)
    publish(supervisor.states)
    failure: StackError | None = None
    try:
        while not stop.times:
            supervisor.step()
            if state.phase is Phase.STARTING and supervisor.all_ready:
                publish(phase=Phase.READY, ready_at=clock.now())
            wait(POLL)
    except StackError as error:
        failure = error
        raise
    finally:
        if failure is None:
            publish(phase=Phase.STOPPING)
        supervisor.stop(hurry=lambda: stop.times > 1, wait=wait)
        if failure is None:
            publish(phase=Phase.STOPPED)
        else:
            publish(phase=Phase.FAILED, failure=failure.message, hint=failure.hint)


def start_detached(home: StackHome, arguments: Sequence[str], watch: Watch) -> StackState:
    """Start a supervisor that outlives this process, and follow it until it is ready. Raises StackError if it fails."""
    home.prepare()
    if lock_owner(home.lock_file):
        return follow(home, watch)
    with home.supervisor_log.open("ab") as log:
        offset = log.tell()
        child = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return follow(home, watch, child=child, log_offset=offset)


def follow(
    home: StackHome,
    watch: Watch,
    *,
    child: subprocess.Popen[bytes] | None = None,
    log_offset: int = 0,
    patience: float = 300.0,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> StackState:
    """Watch somebody else's supervisor until its stack is ready. Raises StackError when it fails or takes too long."""
    begun, seen = now(), None
    while now() - begun < patience:
        state = load_stack(home)
        alive = is_alive(state.supervisor) if state else False
        if state and alive:
            if state != seen:
                watch(state)
            seen = state
            if state.phase is Phase.READY:
                return state
        ended = child is None or child.poll() is not None
        if not alive and ended and lock_owner(home.lock_file) is None:
            state = load_stack(home)
            if state and is_alive(state.supervisor):
                continue
            if state and state.failure and (seen or (child and state.supervisor.pid == child.pid)):
                raise StackError(state.failure, hint=state.hint)
            log = home.supervisor_log
            raise StackError(
                f"the supervisor ended before the stack was ready\n{log_tail(log, log_offset, 10)}",
                hint=f"Its log: {log}",
            )
        wait(POLL)
    raise StackError(f"the stack was not ready after {patience:.0f} s", hint="'promptyard down' stops it.")


def stop_stack(
    home: StackHome,
    watch: Watch,
    *,
    patience: float = 45.0,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """End the stack, with its supervisor's help or without. Returns how many services and strays were ended.

    Raises AlreadyRunning when another command is starting or stopping the same home.
    """
    state = load_stack(home)
    count = _living(state)
    supervisor = lock_owner(home.lock_file) or (state.supervisor if state and is_alive(state.supervisor) else None)
    if supervisor and supervisor.pid != os.getpid():
        os.kill(supervisor.pid, 15)
        begun = now()
        while is_alive(supervisor) and now() - begun < patience:
            if (state := load_stack(home)) is not None:
                watch(state)
            wait(POLL)
        if is_alive(supervisor):
            os.kill(supervisor.pid, 9)
    if not home.lock_file.parent.exists():
        return count
    with supervisor_lock(home.lock_file, patience=10.0):
        return max(count, end_leftovers(home))


def end_leftovers(home: StackHome) -> int:
    """End what a dead supervisor left behind; the caller holds the lock. Returns how many services and strays."""
    state = load_stack(home)
    count = _living(state)
    services = state.services if state else []
    stop_groups([Group(s.process, grace=s.grace) for s in services if s.process], home.stack_id)
    count += sweep(home.stack_id)
    if state and state.phase not in (Phase.STOPPED, Phase.FAILED):
        stopped = [
            s if s.status in (Status.DONE, Status.CRASHED) else msgspec.structs.replace(s, status=Status.STOPPED)
            for s in services
        ]
        save_stack(home, msgspec.structs.replace(state, phase=Phase.STOPPED, services=stopped))
    return count


def _living(state: StackState | None) -> int:
    return sum(1 for service in state.services if is_alive(service.process)) if state else 0


def _set_logs_aside(home: StackHome, services: Sequence[Service]) -> None:
    """Each stack begins its logs anew and keeps those of the one before, so that they cannot grow for ever."""
    for service in services:
        log = home.log(service.name)
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
