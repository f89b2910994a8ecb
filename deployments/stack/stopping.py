"""Ending processes for certain: the stop signal, a grace, then SIGKILL, for whole groups and for what left them."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deployments.stack.home import MARKER
from deployments.stack.processes import ProcessIdentity, carries, running

_POLL = 0.05
_KILL_WAIT = 5.0


@dataclass(frozen=True)
class Group:
    """The process group of a service. ``leader`` began it, so its pid is the group's number."""

    leader: ProcessIdentity
    stop_signal: int = signal.SIGTERM
    grace: float = 5.0


def stop_groups(
    groups: Sequence[Group],
    stack_id: str,
    *,
    reap: Callable[[], object] = lambda: None,
    hurry: Callable[[], bool] = lambda: False,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """End every process of the groups; returns when none lives (or SIGKILL did not help for 5 s).

    A group's number is trusted only while its leader lives. After that, a member must carry the stack's id in its
    environment: the number may belong to somebody else by now. ``reap`` collects our own children; ``hurry`` turns
    true when the user does not want to wait for the graces.
    """
    begun = now()
    for group in groups:
        _signal(_members(group, stack_id), group.stop_signal)
    left = list(groups)
    while left:
        reap()
        left = [group for group in left if _members(group, stack_id)]
        waited = now() - begun
        for group in left:
            if hurry() or waited >= group.grace:
                _signal(_members(group, stack_id), signal.SIGKILL)
        if not left or waited > max(group.grace for group in left) + _KILL_WAIT:
            return
        wait(_POLL)


def sweep(
    stack_id: str,
    *,
    grace: float = 2.0,
    reap: Callable[[], object] = lambda: None,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """End whatever else carries the stack's id, in whatever group; returns how many were found."""
    found = _marked(stack_id)
    count, begun = len(found), now()
    _signal(found, signal.SIGTERM)
    while found and now() - begun <= grace + _KILL_WAIT:
        wait(_POLL)
        reap()
        found = _marked(stack_id)
        if now() - begun >= grace:
            _signal(found, signal.SIGKILL)
    return count


def _members(group: Group, stack_id: str) -> list[ProcessIdentity]:
    members = [process.identity for process in running() if process.group == group.leader.pid]
    if group.leader in members:
        return members
    return [member for member in members if carries(member.pid, MARKER, stack_id)]


def _marked(stack_id: str) -> list[ProcessIdentity]:
    own = os.getpid()
    return [p.identity for p in running() if p.identity.pid != own and carries(p.identity.pid, MARKER, stack_id)]


def _signal(processes: Sequence[ProcessIdentity], number: int) -> None:
    for process in processes:
        try:
            os.kill(process.pid, number)
        except (ProcessLookupError, PermissionError):
            continue
