"""How the stack looks in a terminal: a line per service while it starts, a short table when it runs."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deployments.stack.home import StackHome
from deployments.stack.report import Report
from deployments.stack.state import Phase, ServiceState, StackState, Status

console = Console()

_LOOKS = {
    Status.WAITING: ("·", "dim"),
    Status.STARTING: ("…", "cyan"),
    Status.READY: ("✓", "green"),
    Status.DONE: ("✓", "green"),
    Status.RESTARTING: ("↻", "yellow"),
    Status.CRASHED: ("✗", "bold red"),
    Status.STOPPED: ("■", "dim"),
}
_LIVING = (Status.STARTING, Status.READY)
_NAMES = {"prefect": "Prefect", "mlflow": "MLflow", "gateway": "Gateway", "simulator": "Simulator"}


class StackView:
    """Shows each state it is given: redrawn in place on a terminal, a plain line per change elsewhere."""

    def __init__(
        self, *, on_ready: Callable[[StackState], None] | None = None, stopping: bool = False, out: Console = console
    ) -> None:
        self._out = out
        self._on_ready = on_ready
        self._stopping = stopping
        self._state: StackState | None = None
        self._known: dict[str, Status] = {}
        self._live: Live | None = None

    def __enter__(self) -> "StackView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def show(self, state: StackState) -> None:
        self._state = state
        if self._out.is_terminal:
            self._draw(state)
        else:
            self._print_changes(state)
        if state.phase is Phase.READY and self._on_ready:
            self._close()
            ready, self._on_ready = self._on_ready, None
            ready(state)

    def _draw(self, state: StackState) -> None:
        if self._live is None:
            if state.phase is Phase.READY:  # it came up before and runs: a changed service is a line of its own
                self._print_changes(state)
                return
            self._live = Live(console=self._out, refresh_per_second=8, get_renderable=self._table)
            self._live.start()
        self._known = {service.name: service.status for service in state.services}

    def _print_changes(self, state: StackState) -> None:
        for service in state.services:
            if self._known.get(service.name, Status.WAITING) is service.status:
                continue
            self._known[service.name] = service.status
            if self._stopping and service.status is not Status.STOPPED:
                continue
            self._out.print(Text(f"{service.name:<14} {service.status.value:<11} {_elapsed(service)}".rstrip()))
            if service.status in (Status.CRASHED, Status.RESTARTING) and state.phase is Phase.READY:
                # while starting, the error that ends the command says it
                self._out.print(Text("  " + service.detail.replace("\n", "\n  ")), soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for service in self._state.services if self._state else []:
            sign, style = _LOOKS[service.status]
            table.add_row(
                Text(sign, style), Text(service.name), Text(service.status.value, style), Text(_elapsed(service), "dim")
            )
        return table

    def _close(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None


def print_running(
    home: StackHome, state: StackState, *, foreground: bool = False, already: bool = False, out: Console = console
) -> None:
    """The addresses, the key's place, the logs."""
    took = f" in {state.ready_at - state.started_at:.0f} s" if state.ready_at else ""
    says = "promptyard is up already: nothing was started" if already else "promptyard is up"
    out.print(f"\n[bold green]{says}[/]{took if foreground else ''}")
    table = Table.grid(padding=(0, 2))
    for name, label in _NAMES.items():
        if name in state.urls:
            table.add_row(label, Text(state.urls[name], "cyan"))
    table.add_row("API key", Text(str(home.key_file), overflow="fold"))
    table.add_row("Logs", Text(str(home.root / "logs"), overflow="fold"))
    out.print(table)
    for note in state.notes:
        out.print(Text(note), soft_wrap=False)
    for service in state.services:
        if service.status is Status.CRASHED:
            out.print(Text(f"{service.name} crashed: {service.detail.splitlines()[0]}. Log: {service.log}", "red"))
    out.print(Text("Ctrl-C stops everything." if foreground else "'promptyard down' stops everything.", "dim"))


def print_status(found: Report, *, out: Console = console) -> None:
    """One line per service, then what crashed and where things are."""
    if found.state is None:
        out.print(Text(f"No stack in {found.home.root}. 'promptyard up' starts one."))
        return
    out.print(Text.assemble("stack ", (found.phase, "bold green" if found.healthy else "bold yellow")))
    table = Table.grid(padding=(0, 2))
    for service in found.state.services:
        sign, style = _LOOKS[service.status]
        pid = str(service.process.pid) if service.process and service.status in _LIVING else ""
        restarts = f"{service.restarts} restart{'s' * (service.restarts > 1)}" if service.restarts else ""
        table.add_row(Text(sign, style), service.name, Text(service.status.value, style), Text(pid, "dim"), restarts)
    out.print(table)
    for service in found.state.services:
        if service.status is Status.CRASHED:
            out.print(Text(f"\n{service.name} {service.detail}\nLog: {service.log}", "red"))
    if found.phase == "orphaned":
        out.print(
            "The supervisor is gone, its services still run. 'promptyard down' ends them, 'promptyard up' renews."
        )
    elif found.phase in (Phase.STOPPED, Phase.FAILED):
        out.print(Text(found.state.failure.split("\n")[0] or "'promptyard up' starts it."))
    else:
        for name, label in _NAMES.items():
            if name in found.state.urls:
                out.print(Text.assemble(f"{label:<10} ", (found.state.urls[name], "cyan")))


def _elapsed(service: ServiceState) -> str:
    if service.started_at is None or service.status in (Status.WAITING, Status.STOPPED, Status.CRASHED):
        return ""
    return f"{(service.ready_at or time.time()) - service.started_at:.1f} s"
