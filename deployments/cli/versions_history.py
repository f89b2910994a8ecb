"""The releases of a prompt, newest first: how each ended, when, from which commit, who approved it, what it changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.storage.models import PromptVersionRow, ReleaseRow, ReleaseStepRow
from tasks.specs.commit import CHANGED

SHOWN = 12
_COLOURS = {"promoted": "green", "rolled_back": "red", "refused": "red", "error": "red", "inconclusive": "yellow"}


def history_as_json(releases: Sequence[ReleaseRow], departures: Mapping[str, ReleaseStepRow]) -> list[dict[str, Any]]:
    """For machines: every release, newest first. ``left_at`` and ``left``: when and how its version went out of
    production by hand, if it did."""
    return [
        {
            "id": row.id,
            "version": row.version,
            "baseline": row.baseline or None,
            "stage": row.stage,
            "reason": row.reason,
            "author": row.author or None,
            "approved_by": row.approved_by or None,
            "opened_at": row.opened_at,
            "closed_at": row.closed_at,
            "left_at": departures[row.id].at if row.id in departures else None,
            "left": departures[row.id].reason if row.id in departures else None,
        }
        for row in releases
    ]


def print_history(
    releases: Sequence[ReleaseRow],
    versions: Mapping[str, PromptVersionRow],
    departures: Mapping[str, ReleaseStepRow],
    out: Console,
) -> None:
    """A line a release with its id whole, for 'promptyard certificate', and what was changed below it."""
    if not releases:
        return
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for title in ("released", "stage", "since", "commit", "release"):
        table.add_column(title, no_wrap=True)
    notes: list[Text] = []
    for row in releases[:SHOWN]:
        version = versions.get(row.version)
        at = row.closed_at or row.opened_at
        table.add_row(
            row.version,
            Text(row.stage.replace("_", " "), _COLOURS.get(row.stage, "")),
            f"{datetime.fromtimestamp(at):%m-%d %H:%M}",
            _short(version.git_commit) if version and version.git_commit else "-",
            row.id,
        )
        if note := _note(row, version, departures.get(row.id)):
            notes.append(Text.assemble((f"{row.version}  ", "dim"), note))
    out.print(table)
    for line in notes:
        out.print(line, soft_wrap=True)
    if len(releases) > SHOWN:
        out.print(Text(f"and {len(releases) - SHOWN} earlier releases: --json lists them all", "dim"))


def _short(commit: str) -> str:
    """With a "+" where something was not committed."""
    return commit[:7] + (CHANGED if commit.endswith(CHANGED) else "")


def _note(row: ReleaseRow, version: PromptVersionRow | None, departure: ReleaseStepRow | None) -> str:
    changed = version.changelog.strip() if version else ""
    approved = f"approved by {row.approved_by}" if row.approved_by else ""
    left = f"{datetime.fromtimestamp(departure.at):%m-%d %H:%M} {departure.reason}" if departure else ""
    return "; ".join(part for part in (changed, approved, left) if part)
