"""How traffic looks: a live line while it plays, tables when it is over."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deployments.cli.release_watch import headline, release_table
from deployments.traffic.plan import TrafficPlan
from deployments.traffic.report import Rightness, TrafficReport

if TYPE_CHECKING:
    from tasks.releases.live import ReleaseNow

PLAIN_EVERY = 5.0
"""Seconds between two lines where there is no terminal."""
DRAWN_EVERY = 0.25


class TrafficView:
    """Shows reports while they come. Writes to stderr, so stdout stays clean."""

    def __init__(
        self,
        plan: TrafficPlan,
        out: Console | None = None,
        release: "Callable[[], ReleaseNow | None]" = lambda: None,
    ) -> None:
        self._plan = plan
        self._release = release
        self._out = out or Console(stderr=True)
        self._live: Live | None = None
        self._shown = 0.0

    def __enter__(self) -> "TrafficView":
        if self._out.is_terminal:
            self._live = Live(console=self._out, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, report: TrafficReport) -> None:
        if report.seconds - self._shown < (PLAIN_EVERY if self._live is None else DRAWN_EVERY):
            return  # a report is summed up anew each time
        self._shown = report.seconds
        if self._live is not None:
            self._live.update(self._drawn(report))
        else:
            line = Text(f"{report.requests} of {self._plan.requests}  {summary(report)}")
            if now := self._release():
                line.append("  ").append(headline(now))
            self._out.print(line, soft_wrap=True)

    def _drawn(self, report: TrafficReport) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self._plan.requests, completed=report.requests, width=20)
        table.add_row(bar, f"{report.requests}/{self._plan.requests}", Text(summary(report), no_wrap=True))
        now = self._release()
        return table if now is None else Group(table, Text(""), *_release_parts(now))


def summary(report: TrafficReport) -> str:
    """The play so far in less than 60 characters."""
    parts = [f"{report.rate:.0f}/s", f"p95 {_ms(report.latency_ms(0.95))}", f"hits {_share(report.hit_rate)}"]
    versions, errors = report.count("version"), report.errors()
    if len(versions) > 1:
        parts += [f"{version} {_share(count / report.answers)}" for version, count in sorted(versions.items())]
    if errors:
        parts.append(f"{sum(errors.values())} errors")
    return "  ".join(parts)


def print_report(report: TrafficReport, out: Console, release: "ReleaseNow | None" = None) -> None:
    """Figures of the whole play, then right answers by kind and version, then the release that it was played to."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("requests", f"{report.requests} in {report.seconds:.1f} s, {report.rate:.1f}/s")
    errors = ", ".join(f"{count} {code}" for code, count in report.errors().items())
    facts.add_row("errors", Text(errors or "none", "red" if errors else "green"))
    facts.add_row("latency", "  ".join(f"p{p} {_ms(report.latency_ms(p / 100))}" for p in (50, 95, 99)))
    names = {
        "none": "a model",
        "local": "a worker's memory",
        "exact": "the exact cache",
        "semantic": "a similar question",
        "coalesced": "another call in flight",
    }
    facts.add_row("from", _counts(report.count("layer"), report.answers, names))
    facts.add_row("providers", _counts(report.count("provider"), report.answers))
    facts.add_row("versions", _counts(report.count("version"), report.answers))
    cost = report.cost_usd()
    facts.add_row("cost", "unknown: an answer has no known price" if cost is None else f"${cost:.4f}")
    refused = f", {report.feedback_failed} not taken" if report.feedback_failed else ""
    facts.add_row("feedback", f"{report.feedback} given{refused}")
    out.print(facts)
    if right := report.right_by():
        out.print()
        out.print(_right(right))
    if release is not None:
        out.print()
        out.print(*_release_parts(release), sep="\n")
        if release.reason:
            out.print(Text(release.reason, "dim"))


def _release_parts(now: "ReleaseNow") -> list[RenderableType]:
    """Without a user of its own yet, a release is only named."""
    seen = now.guardrails or any(arm.calls for arm in now.arms.values())
    return [headline(now), release_table(now, time.time())] if seen else [headline(now)]


def _right(right: Mapping[str, Mapping[str, Rightness]]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("right answers", no_wrap=True)
    for version in right:
        table.add_column(version, justify="right", no_wrap=True)
    for kind in dict.fromkeys(kind for kinds in right.values() for kind in kinds):
        style = "bold" if kind == "all" else ""
        cells = [_rightness(kinds.get(kind)) for kinds in right.values()]
        table.add_row(kind.replace("_", " "), *cells, style=style)
    return table


def _rightness(found: Rightness | None) -> str:
    return f"{100 * found.right / found.answers:.0f} % of {found.answers:>4}" if found else "-"


def _counts(counts: Mapping[str, int], total: int, names: Mapping[str, str] | None = None) -> str:
    named = names or {}
    return ", ".join(f"{named.get(name, name)} {n} ({_share(n / total)})" for name, n in sorted(counts.items())) or "-"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
