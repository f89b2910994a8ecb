"""The stages of a long command: a spinner with what happens now on a terminal, a plain line per change elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text


class StageView:
    """``begin`` a stage, tell its ``detail``, ``end`` it; stages do not nest. Writes to stderr: stdout is results."""

    def __init__(self, out: Console | None = None) -> None:
        self._out = out or Console(stderr=True)
        self._live: Live | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._name = ""
        self._detail = ""
        self._since = 0.0

    def __enter__(self) -> "StageView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._name:
            self.end(failed=kind is not None)

    def begin(self, name: str) -> None:
        """A stage begins; one that was not ended is."""
        if self._name:
            self.end()
        self._name, self._detail, self._since = name, "", time.monotonic()
        if self._out.is_terminal:
            self._live = Live(console=self._out, refresh_per_second=8, transient=True, get_renderable=self._now)
            self._live.start()
        else:
            self._out.print(Text(f"{name} ..."), soft_wrap=True)

    def detail(self, text: str) -> None:
        """What the stage does now; shown on a terminal only."""
        self._detail = text

    def end(self, note: str = "", *, failed: bool = False) -> None:
        """The stage is over."""
        if not self._name:
            return
        if self._live is not None:
            self._live.stop()
            self._live = None
        sign, style = ("✗", "bold red") if failed else ("✓", "green")
        words = Text.assemble((sign, style), " ", (f"{self._name:<12}", ""), f" {self._elapsed():>6.1f} s")
        if note:
            words.append(f"  {note}", "dim")
        self._out.print(words, soft_wrap=not self._out.is_terminal)
        self._name = ""

    def _elapsed(self) -> float:
        return time.monotonic() - self._since

    def _now(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_row(self._spinner, Text(f"{self._name:<12}"), f"{self._elapsed():>6.1f} s", Text(self._detail, "dim"))
        return table
