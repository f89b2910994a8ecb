"""What ``promptyard status`` says: what was written down, compared with what lives."""

from dataclasses import dataclass
from typing import Any

import msgspec

from deployments.stack.home import StackHome
from deployments.stack.processes import is_alive
from deployments.stack.state import Phase, StackState, Status, load_stack


@dataclass(frozen=True)
class Report:
    """``phase`` is a Phase, ``"none"`` (never started) or ``"orphaned"`` (services without a supervisor)."""

    home: StackHome
    phase: str
    state: StackState | None

    @property
    def healthy(self) -> bool:
        if self.state is None or self.phase != Phase.READY:
            return False
        return all(service.status in (Status.READY, Status.DONE) for service in self.state.services)

    def as_json(self) -> dict[str, Any]:
        """For machines; holds no password and no key."""
        found: dict[str, Any] = {"home": str(self.home.root), "phase": self.phase, "healthy": self.healthy}
        if self.state is None:
            return found | {"urls": {}, "services": []}
        whole = msgspec.to_builtins(self.state)
        kept = ("supervisor", "started_at", "ready_at", "urls", "notes", "services", "failure", "hint")
        return found | {name: whole[name] for name in kept} | {"key_file": str(self.home.key_file)}


def report(home: StackHome) -> Report:
    """Look at the state file and at the processes it names."""
    state = load_stack(home)
    if state is None:
        return Report(home, "none", None)
    if state.phase in (Phase.STOPPED, Phase.FAILED) or is_alive(state.supervisor):
        return Report(home, state.phase.value, state)
    services = [
        service
        if service.status in (Status.DONE, Status.CRASHED) or is_alive(service.process)
        else msgspec.structs.replace(service, status=Status.STOPPED)
        for service in state.services
    ]
    orphans = any(is_alive(service.process) for service in services)
    phase = "orphaned" if orphans else Phase.STOPPED.value
    return Report(home, phase, msgspec.structs.replace(state, services=services))
