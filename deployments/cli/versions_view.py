"""How prompts and their versions look: one wide table, or two narrow ones where the terminal is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deployments.cli.versions_history import history_as_json
from gateway.ledger.reports import VersionMetrics
from gateway.storage.models import ExperimentRow, PromptRow, PromptVersionRow, ReleaseRow, ReleaseStepRow

WIDE = 140
QUALITY = "quality"
_COLOURS = {"production": "bold green", "canary": "bold yellow", "pass": "green", "fail": "red", "error": "red"}


@dataclass(frozen=True)
class PromptState:
    """A prompt with its open release, its versions (newest first) and what live calls say about them."""

    prompt: PromptRow
    release: ReleaseRow | None
    versions: Sequence[PromptVersionRow]
    metrics: Mapping[str, VersionMetrics]
    releases: Sequence[ReleaseRow] = ()
    """Newest first."""
    departures: Mapping[str, ReleaseStepRow] = field(default_factory=dict)
    """By release, when and by whom its version was taken out of production again."""
    experiment: ExperimentRow | None = None
    """The open one."""

    def status(self, version: str) -> str:
        """production, the open release's stage, an arm of the open experiment, previous, or nothing."""
        if version == self.prompt.production:
            return "production"
        if self.release is not None and version == self.release.version:
            return self.release.stage.replace("_", " ")
        if version in (arms := self._arms()):
            return "experiment" if arms[version]["state"] == "active" else "excluded"
        return "previous" if version == self.prompt.previous else ""

    def share(self, version: str) -> float:
        """Percent of the users that the version serves, whatever their segment."""
        if arms := self._arms():
            return float(arms[version]["weight"] / 100) if version in arms else 0.0
        canary = self.release.weight / 100 if self.release is not None and self.release.stage == "canary" else 0.0
        if self.release is not None and version == self.release.version:
            return canary
        return 100 - canary if version == self.prompt.production else 0.0

    def _arms(self) -> dict[str, dict[str, Any]]:
        return {arm["version"]: arm for arm in self.experiment.arms} if self.experiment is not None else {}


def as_json(state: PromptState) -> dict[str, Any]:
    """For machines; numbers are null where there were no calls or scores. Money is US dollars."""
    release = state.release
    return {
        "name": state.prompt.name,
        "production": state.prompt.production or None,
        "previous": state.prompt.previous or None,
        "release": release
        and {
            "id": release.id,
            "version": release.version,
            "baseline": release.baseline or None,
            "stage": release.stage,
            "share_percent": state.share(release.version),
            "reason": release.reason,
            "opened_at": release.opened_at,
        },
        "experiment": state.experiment
        and {"id": state.experiment.id, "policy": state.experiment.policy, "started_at": state.experiment.started_at},
        "versions": [_version_as_json(state, row) for row in state.versions],
        "releases": history_as_json(state.releases, state.departures),
    }


def _version_as_json(state: PromptState, row: PromptVersionRow) -> dict[str, Any]:
    found = state.metrics.get(row.version)
    return {
        "version": row.version,
        "status": state.status(row.version) or None,
        "share_percent": state.share(row.version),
        "verdict": row.verdict or None,
        "author": row.author,
        "changelog": row.changelog,
        "commit": row.git_commit or None,
        "created_at": row.created_at,
        "mlflow_version": row.mlflow_version or None,
        "calls": found.calls if found else 0,
        "users": found.users if found else 0,
        "failures": found.failures if found else 0,
        "quality": found.scores.get(QUALITY) if found else None,
        "scores": dict(found.scores) if found else {},
        "latency_p50_ms": found.latency_p50_ms if found else None,
        "latency_p95_ms": found.latency_p95_ms if found else None,
        "hit_rate": found.hit_rate if found else None,
        "cost_usd": float(found.cost_usd) if found else 0.0,
        "saved_usd": float(found.saved_usd) if found else 0.0,
    }


def print_prompts(states: Sequence[PromptState], out: Console) -> None:
    """Every prompt: a headline, the open release, the versions."""
    if not states:
        out.print("No prompt yet. 'promptyard release PATH' brings the first one.", soft_wrap=True)
    for state in states:
        _print_prompt(state, out)


def _print_prompt(state: PromptState, out: Console) -> None:
    serving = state.prompt.production
    headline = Text.assemble((state.prompt.name, "bold"), "  ")
    headline.append(f"{serving} in production" if serving else "nothing in production yet")
    out.print(headline)
    if (release := state.release) is not None:
        waits = f", {state.share(release.version):g} % of the users" if release.stage == "canary" else ""
        out.print(
            Text(f"release {release.id} of {release.version}: {release.stage.replace('_', ' ')}{waits}", "yellow")
        )
        if release.reason:
            out.print(Text(f"  {release.reason}", "dim"))
    if (experiment := state.experiment) is not None:
        arms = ", ".join(f"{arm['version']} {arm['weight'] / 100:g} %" for arm in experiment.arms)
        out.print(Text(f"experiment {experiment.id} ({experiment.policy}): {arms}", "yellow"))
    identity, traffic = _IDENTITY, _TRAFFIC
    if out.width >= WIDE:
        out.print(_table(state, (*identity, *traffic[1:])))
    else:
        out.print(_table(state, identity))
        if state.metrics:
            out.print(_table(state, traffic))


Cell = Callable[[PromptState, PromptVersionRow], Text]


@dataclass(frozen=True)
class _Column:
    title: str
    cell: Cell
    right: bool = False


def _table(state: PromptState, columns: Sequence[_Column]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for row in state.versions:
        table.add_row(*(column.cell(state, row) for column in columns))
    return table


def _text(read: Callable[[PromptState, PromptVersionRow], str]) -> Cell:
    def cell(state: PromptState, row: PromptVersionRow) -> Text:
        value = read(state, row)
        return Text(value, _COLOURS.get(value, ""))

    return cell


def _number(read: Callable[[VersionMetrics], str]) -> Cell:
    def cell(state: PromptState, row: PromptVersionRow) -> Text:
        found = state.metrics.get(row.version)
        return Text(read(found)) if found else Text("-", "dim")

    return cell


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def quality(found: VersionMetrics) -> str:
    return f"{found.scores[QUALITY]:.3f}" if QUALITY in found.scores else "-"


_VERSION = _Column("version", _text(lambda _, row: row.version))
_IDENTITY = (
    _VERSION,
    _Column("status", _text(lambda state, row: state.status(row.version))),
    _Column("share", _text(lambda state, row: f"{share:g} %" if (share := state.share(row.version)) else ""), True),
    _Column("gate", _text(lambda _, row: row.verdict or "-")),
    _Column("author", _text(lambda _, row: row.author if len(row.author) <= 16 else f"{row.author[:15]}…")),
    _Column("created", _text(lambda _, row: f"{datetime.fromtimestamp(row.created_at):%m-%d %H:%M}")),
)
_TRAFFIC = (
    _VERSION,
    _Column("calls", _number(lambda found: str(found.calls)), True),
    _Column("users", _number(lambda found: str(found.users)), True),
    _Column("quality", _number(quality), True),
    _Column("failed", _number(lambda found: str(found.failures)), True),
    _Column(
        "p50/p95 ms",
        _number(lambda found: f"{milliseconds(found.latency_p50_ms)}/{milliseconds(found.latency_p95_ms)}"),
        True,
    ),
    _Column("hits", _number(lambda found: f"{found.hit_rate:.0%}"), True),
    _Column("cost", _number(lambda found: f"${found.cost_usd:.4f}"), True),
)
