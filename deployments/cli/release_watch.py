"""The open release of a prompt while traffic plays: read now and then beside it, shown as a small table."""

import contextlib
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from tasks.releases.live import ReleaseNow

Read = Callable[[str], "ReleaseNow | None"]
"""The release of an id, or the open one for an empty id."""
EVERY = 2.0
_GOOD, _BAD = "green", "red"
_SHOWN = {"promoted": "bold green", "rolled_back": "bold red", "canary": "bold yellow"}


class ReleaseWatch:
    """Follows the first release that is open, to its end. A ledger that does not answer shows nothing; never raises."""

    def __init__(self, read: Read, every: float = EVERY) -> None:
        self._read, self._every = read, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="release-watch", daemon=True)
        self.now: ReleaseNow | None = None

    def __enter__(self) -> "ReleaseWatch":
        self.look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=5)
        self.look()

    def look(self) -> None:
        with contextlib.suppress(Exception):  # what is played matters, not whether it can be watched
            self.now = self._read(self.now.id if self.now else "") or self.now

    def _follow(self) -> None:
        wait = self._every
        while not self._over.wait(wait):
            begun = time.monotonic()
            self.look()
            wait = max(self._every, 10 * (time.monotonic() - begun))


def headline(now: "ReleaseNow") -> Text:
    """Which release, and where it is."""
    words = Text(f"{now.version} against {now.baseline or 'nothing'}: ", "bold")
    words.append(now.stage.replace("_", " "), _SHOWN.get(now.stage, "bold"))
    words.append(f" at {now.share_percent:g} % of the users" if now.stage == "canary" else "")
    return words


def release_table(now: "ReleaseNow", at: float) -> Table:
    """Arms side by side, then the e-values of the last look. ``at``: seconds since the epoch."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    canary, stable = now.arms["canary"], now.arms["stable"]
    looks = {one["metric"]: one for one in now.guardrails}
    table.add_column("", style="dim", no_wrap=True)
    for name in (now.version, now.baseline or "-"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("E not worse", justify="right", no_wrap=True)
    table.add_column("E worse", justify="right", no_wrap=True)
    table.add_row("users", f"{canary.users}", f"{stable.users}", "", "")
    table.add_row("calls judged", *(f"{arm.scored} of {arm.calls}" for arm in (canary, stable)), "", "")
    shown = {
        "quality": [_number(arm.quality) for arm in (canary, stable)],
        "failure": [_percent(arm.failed, arm.calls) for arm in (canary, stable)],
    }
    for metric in dict.fromkeys([*shown, *looks]):
        one = looks.get(metric)
        means = [_number(one[f"{arm}_mean"]) for arm in ("canary", "stable")] if one else []
        figures = shown.get(metric, means)
        table.add_row(metric, *figures, *_e_values(one))
    if now.looked_at is not None:
        table.caption = f"E-values of the last look, {max(0.0, at - now.looked_at):.0f} s before"
        table.caption_justify = "left"
    return table


def as_json(now: "ReleaseNow | None") -> dict[str, Any] | None:
    """For machines; e-values as logarithms, as the ledger has them."""
    if now is None:
        return None
    keys = ("metric", "canary_mean", "stable_mean", "blocks")
    more = ("log_e_worse_max", "log_threshold_worse", "log_e_better_max", "log_threshold_better")
    return {
        "id": now.id,
        "version": now.version,
        "baseline": now.baseline or None,
        "stage": now.stage,
        "share_percent": now.share_percent,
        "reason": now.reason,
        "arms": {
            name: {"users": arm.users, "calls": arm.calls, "failed": arm.failed, "judged": arm.scored}
            | {"quality": arm.quality}
            for name, arm in now.arms.items()
        },
        "guardrails": [{key: one[key] for key in (*keys, *more)} for one in now.guardrails],
    }


def _e_values(one: Any) -> tuple[Text, Text]:
    if one is None:
        return Text("-", justify="right"), Text("-", justify="right")
    return (
        _against(one["log_e_better_max"], one["log_threshold_better"], _GOOD),
        _against(one["log_e_worse_max"], one["log_threshold_worse"], _BAD),
    )


def _against(log_e: float, log_limit: float, colour: str) -> Text:
    value = math.exp(min(log_e, 700.0))
    words = f"{value:.1f}" if value < 1_000 else f"{value:.0e}"
    return Text(f"{words} of {math.exp(log_limit):.0f}", f"bold {colour}" if log_e >= log_limit else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
