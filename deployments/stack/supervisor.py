"""Starts services in the order of their dependencies, watches them, restarts those that may be, stops them all.

It knows services only as values (see ``service.py``) and reports every change through ``publish``.
"""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from deployments.stack.errors import StackError
from deployments.stack.home import MARKER, StackHome
from deployments.stack.processes import ProcessIdentity, identify
from deployments.stack.readiness import is_ready, log_tail
from deployments.stack.service import Service, stop_order
from deployments.stack.state import ServiceState, Status
from deployments.stack.stopping import Group, stop_groups, sweep
from gateway.clock import Clock

Publish = Callable[[list[ServiceState]], None]
_SATISFIED = (Status.READY, Status.DONE)


@dataclass
class _Member:
    service: Service
    state: ServiceState
    child: subprocess.Popen[bytes] | None = None
    begun: float = 0.0
    due: float = 0.0
    log_offset: int = 0
    crashes: list[float] = field(default_factory=list)
    question: Future[bool] | None = None


class Supervisor:
    """Runs one table of services. Call ``step`` until ``all_ready``, then go on to keep them; ``stop`` ends them."""

    def __init__(
        self,
        services: Sequence[Service],
        home: StackHome,
        environ: Mapping[str, str],
        publish: Publish,
        clock: Clock,
        *,
        directory: Path | None = None,
    ) -> None:
        self._rounds = stop_order(services)
        self._home = home
        self._environ = dict(environ) | {MARKER: home.stack_id}
        self._directory = directory or home.root
        self._publish = publish
        self._clock = clock
        self._asking = ThreadPoolExecutor(max_workers=8, thread_name_prefix="ready")
        self._members = {
            service.name: _Member(
                service, ServiceState(name=service.name, log=str(home.log(service.name)), grace=service.grace)
            )
            for service in services
        }

    @property
    def states(self) -> list[ServiceState]:
        return [member.state for member in self._members.values()]

    @property
    def all_ready(self) -> bool:
        return all(member.state.status in _SATISFIED for member in self._members.values())

    def step(self) -> None:
        """One look at every service. Raises StackError when one does not come up for the first time."""
        for member in self._members.values():
            match member.state.status:
                case Status.WAITING if self._may_start(member.service):
                    self._start(member)
                case Status.RESTARTING if self._clock.monotonic() >= member.due:
                    self._start(member)
                case Status.STARTING:
                    self._look_at_starting(member)
                case Status.READY:
                    self._look_at_ready(member)

    def stop(self, *, hurry: Callable[[], bool] = lambda: False, wait: Callable[[float], None] = time.sleep) -> None:
        """End all services, dependants first, and everything they left behind."""
        for round_ in self._rounds:
            members = [m for s in round_ if (m := self._members[s.name]).state.process is not None]
            groups = [self._group(member.service, member.state.process) for member in members if member.state.process]
            stop_groups(groups, self._home.stack_id, reap=self._reap, hurry=hurry, wait=wait)
            for member in members:
                if member.state.status not in (Status.DONE, Status.CRASHED):
                    self._change(member, status=Status.STOPPED, detail="")
        sweep(self._home.stack_id, grace=0.0 if hurry() else 2.0, reap=self._reap, wait=wait)
        self._reap()
        self._asking.shutdown(wait=False, cancel_futures=True)

    # --- one service -------------------------------------------------------------------------------------------------

    def _may_start(self, service: Service) -> bool:
        return all(self._members[name].state.status in _SATISFIED for name in service.after)

    def _start(self, member: _Member) -> None:
        service, log = member.service, self._home.log(member.service.name)
        with log.open("ab") as output:
            member.log_offset = output.tell()
            try:
                member.child = subprocess.Popen(  # noqa: S603 - the table is ours
                    service.argv,
                    env=self._environ | dict(service.env),
                    cwd=self._directory,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches the supervisor alone; the group can be stopped as one
                )
            except OSError as error:
                self._change(member, status=Status.CRASHED, detail=f"{service.argv[0]}: {error.strerror}")
                raise StackError(f"{service.name} could not be started: {error}") from error
        member.begun = self._clock.monotonic()
        member.question = None
        self._change(
            member,
            status=Status.STARTING,
            process=identify(member.child.pid) or ProcessIdentity(member.child.pid, "ended at once"),
            started_at=self._clock.now(),
            ready_at=None,
            exit_code=None,
            detail="",
        )

    def _look_at_starting(self, member: _Member) -> None:
        service = member.service
        code = member.child.poll() if member.child else None
        if code == 0 and service.is_job:
            self._change(member, status=Status.DONE, exit_code=0, ready_at=self._clock.now())
        elif code is not None:
            self._ended(member, code)
        elif self._answered(member):
            self._change(member, status=Status.READY, ready_at=self._clock.now(), detail="")
        elif self._clock.monotonic() - member.begun > service.patience:
            self._gave_up(member, f"was not ready after {service.patience:.0f} s")

    def _look_at_ready(self, member: _Member) -> None:
        code = member.child.poll() if member.child else None
        if code is not None:
            self._ended(member, code)

    def _answered(self, member: _Member) -> bool:
        """Questions are asked in threads: a server that accepts and stays silent must not hold up the others."""
        question, member.question = member.question, None
        if question is None:
            running_for = self._clock.monotonic() - member.begun
            member.question = self._asking.submit(
                is_ready,
                member.service.ready,
                log=self._home.log(member.service.name),
                log_offset=member.log_offset,
                running_for=running_for,
            )
            return False
        if not question.done():
            member.question = question
            return False
        return question.result()

    def _ended(self, member: _Member, code: int) -> None:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        first_start = member.state.restarts == 0 and member.state.status is Status.STARTING
        now = self._clock.monotonic()
        member.crashes.append(now)
        if member.state.process:  # what it started must not hold its port
            group = Group(member.state.process, grace=0.0)
            stop_groups([group], self._home.stack_id, reap=self._reap)
        wait = None if first_start else member.service.restart.wait(member.crashes, now)
        if wait is None:
            self._gave_up(member, how, code=code, fatal=first_start)
            return
        member.due = now + wait
        self._change(
            member,
            status=Status.RESTARTING,
            process=None,
            exit_code=code,
            restarts=member.state.restarts + 1,
            detail=f"{how}; starts again in {wait:.1f} s",
        )

    def _gave_up(self, member: _Member, what: str, *, code: int | None = None, fatal: bool | None = None) -> None:
        log = self._home.log(member.service.name)
        tail = log_tail(log, member.log_offset) or "(it wrote nothing)"
        self._change(member, status=Status.CRASHED, exit_code=code, detail=f"{what}\n{tail}")
        if fatal if fatal is not None else member.state.restarts == 0:
            raise StackError(f"{member.service.name} {what}\n{tail}", hint=f"The whole log: {log}")

    def _change(self, member: _Member, **changes: object) -> None:
        member.state = msgspec.structs.replace(member.state, **changes)
        self._publish(self.states)

    def _group(self, service: Service, process: ProcessIdentity) -> Group:
        return Group(process, service.stop_signal, service.grace)

    def _reap(self) -> None:
        for member in self._members.values():
            if member.child:
                member.child.poll()
