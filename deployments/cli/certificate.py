"""``promptyard certificate``: the record of a finished release, and every decision of it once more. Reads SQL alone."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.ledger_access import open_ledger
from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from tasks.releases.replay import Replay

Json = Annotated[bool, typer.Option("--json", help="Print the whole record for machines.")]


def register(app: typer.Typer) -> None:
    app.command()(certificate)


def certificate(
    release_id: Annotated[str, typer.Argument(help="As 'promptyard versions NAME' shows it, or how it begins.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write the page that prints well here.")] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Only take every decision again; status 3 if it fails.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What a release promised, saw and decided. Exit status 3 when the ledger does not hold that any more."""
    from tasks.certificates.record import certificate as record_of
    from tasks.releases.replay import replay as replay_of
    from tasks.releases.store import find_release

    _, engine = open_ledger()
    release_id = find_release(engine, release_id).id
    if replay:
        again = replay_of(engine, release_id)
        typer.echo(json.dumps(_as_plain(again), indent=2) if as_json else _in_words(again))
        raise typer.Exit(0 if again.holds else 3)
    record = record_of(engine, release_id)
    if html is not None:
        from tasks.certificates.page import page

        try:
            html.write_text(page(record), encoding="utf-8")
        except OSError as error:
            raise InvalidRequest(f"{html} cannot be written: {error.strerror}", hint="--html FILE.html") from None
        typer.echo(f"{html} written.", err=as_json)
    if as_json:
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
    elif html is None:
        _print(record)
    raise typer.Exit(0 if record["evidence"]["replay"]["holds"] else 3)


def _as_plain(again: "Replay") -> dict[str, Any]:
    return {
        "holds": again.holds,
        "first_difference": str(again.difference) if again.difference else None,
        "verdicts": [
            {"step": one.step, "look": one.look or None, "kind": one.kind, "reason": one.reason}
            for one in again.verdicts
        ],
        "looks": again.looks,
        "calls": again.calls,
        "late_calls": again.late,
        "sealed": again.sealed,
        "digest": again.digest,
    }


def _in_words(again: "Replay") -> str:
    lines = [
        f"  step {one.step:>3}  {f'look {one.look}' if one.look else 'gate':<9} {one.kind}" for one in again.verdicts
    ]
    if again.holds:
        lines.append(
            f"The replay holds: all verdicts come out the same ({len(again.verdicts)}, of {again.looks} looks over"
            f" {again.calls} calls); the release is {'sealed' if again.sealed else 'not sealed yet'}."
        )
    else:
        lines.append(f"The replay FAILS. First difference: {again.difference}.")
    return "\n".join(lines)


def _print(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tasks.certificates.mirrored import in_words

    out = Console()
    release, verdict, evidence = record["release"], record["verdict"], record["evidence"]
    out.print(Text(f"{release['prompt']} {release['version']}: {verdict['stage'].replace('_', ' ')}", "bold"))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    approvals = [f"{'approved' if one['approved'] else 'rejected'} by {one['by']}" for one in record["approvals"]]
    again = evidence["replay"]
    held = f"holds; verdicts: {again['verdicts']}" if again["holds"] else f"FAILS: {again['first_difference']}"
    sealed = "sealed" if evidence["sealed"] else "not sealed yet: late calls change it"
    for name, value in (
        ("release", release["id"]),
        ("before", release["baseline"] or "nothing: the first version"),
        ("because", verdict["reason"]),
        ("promise", record["promise"]["bound"] or record["promise"]["in_words"]),
        ("gate", record["gate"]["outcome"] if record["gate"] else "-"),
        ("approval", "; ".join(approvals) or "-"),
        *((("mirror", in_words(record["mirror"])),) if record["mirror"] else ()),
        ("looks", f"{evidence['looks']}, over {evidence['calls']} calls"),
        ("left out", ", ".join(f"{n} calls {why}" for why, n in record["left_out"]["calls"].items()) or "no calls"),
        *(
            (("not looked at", f"{evidence['late_calls']} calls, before or after the verdict"),)
            if evidence["late_calls"]
            else ()
        ),
        ("worth", record["business"]["recommendation"] if record["business"] else "-"),
        ("replay", held),
        ("digest", f"{evidence['digest']} ({sealed})"),
    ):
        facts.add_row(name, Text(str(value)))
    out.print(facts)
