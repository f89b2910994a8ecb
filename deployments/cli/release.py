"""``promptyard release`` and ``promptyard approve``: run the flow here, watch its stages, say how it ended."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.errors import InvalidRequest, PromptyardError

if TYPE_CHECKING:
    from gateway.settings import Settings
    from tasks.releasing import Release

Json = Annotated[bool, typer.Option("--json", help="Print for machines.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose prompt; PROMPTYARD_TENANT by default.")]

EXIT = {"promoted": 0, "mirror": 0, "canary": 0, "awaiting_approval": 0, "refused": 2, "inconclusive": 2}
"""Exit status by the stage that a release reached; anything else is 1."""
CONNECT, REGISTER, GATE, WARM, START, CLOSE = "connect", "register", "gate", "warm", "canary", "close"
EXPECT = "expect"


class InvalidSpec(InvalidRequest):
    """The prompt's file cannot be used; the message has a line for each problem."""

    code = "invalid_spec"
    default_hint = "Nothing was registered or changed. Correct the file and release it again."


def register(app: typer.Typer) -> None:
    app.command()(release)
    app.command()(approve)
    app.command()(reject)


def release(
    path: Annotated[Path, typer.Argument(help="A prompt.yaml, or the folder that holds one.")],
    author: Annotated[str, typer.Option("--author", help="Who releases; by default the file's author.")] = "",
    salt: Annotated[str, typer.Option("--salt", help="Fixes which users see the canary first.")] = "",
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Register, gate, warm and start the canary. Exit status 2 when the gate does not let it through.

    How long the canary will take at the traffic of the last two weeks is told before anything starts.
    """
    file = path / "prompt.yaml" if path.is_dir() else path
    _check(file)
    expected: list[str] = []

    def expect(settings: "Settings") -> str:
        expected.append(_expected(settings, file, tenant or settings.tenant))
        return expected[0]

    def run(settings: "Settings") -> "Release":
        from flows.release_prompt import ReleaseRequest, release_prompt

        return release_prompt(
            ReleaseRequest(path=file, tenant=tenant or settings.tenant, author=author, salt=salt or None)
        )

    settings, ended = _watched(run, expect)
    _finish(settings, ended, as_json=as_json, expected="".join(expected))


def approve(
    release_id: Annotated[str, typer.Argument(help="As 'promptyard versions' shows it.")],
    by: Annotated[str, typer.Option("--by", help="Who decides; kept with the release.")],
    no: Annotated[bool, typer.Option("--reject", help="Close the release instead, as 'reject' does.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the release.")] = "",
    as_json: Json = False,
) -> None:
    """Let a release that awaits approval go on."""
    _decide(release_id, by, reason, approve=not no, as_json=as_json)


def reject(
    release_id: Annotated[str, typer.Argument(help="As 'promptyard versions' shows it.")],
    by: Annotated[str, typer.Option("--by", help="Who decides; kept with the release.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the release.")],
    as_json: Json = False,
) -> None:
    """End a release that awaits approval: nobody sees its version."""
    _decide(release_id, by, reason, approve=False, as_json=as_json)


def _decide(release_id: str, by: str, reason: str, *, approve: bool, as_json: bool) -> None:
    if not by.strip():
        raise InvalidRequest("somebody must decide", hint="Say who, as in --by Ada.")
    _require_waiting(release_id)

    def run(_settings: "Settings") -> "Release":
        from flows.approve_release import ApprovalRequest, approve_release

        return approve_release(ApprovalRequest(release_id=release_id, approved_by=by, approve=approve, reason=reason))

    _finish(*_watched(run), as_json=as_json, rejected=not approve)


def _require_waiting(release_id: str) -> None:
    """What needs no decision is told by the ledger at once, without any server. Raises NotFound or Conflict."""
    from deployments.cli.ledger_access import open_ledger
    from gateway.errors import Conflict
    from tasks.releases.stages import Stage
    from tasks.releases.store import get_release

    try:
        _, engine = open_ledger()
    except PromptyardError:
        return  # connecting says what is missing
    row = get_release(engine, release_id)
    if row.stage != Stage.AWAITING_APPROVAL:
        stage = row.stage.replace("_", " ")
        hint = f"'promptyard versions {row.prompt}' shows where its releases are."
        raise Conflict(f"{row.prompt} {row.version} ({row.id}) awaits no approval: it is {stage}", hint=hint)


def _check(file: Path) -> None:
    """A wrong file is told at once, without any server."""
    from tasks.specs.reading import SpecError, read_spec

    try:
        read_spec(file)
    except SpecError as error:
        raise invalid_spec(file, error.problems) from None


def invalid_spec(file: Path, problems: list[str]) -> InvalidSpec:
    """Every problem on a line of its own."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return InvalidSpec(f"{file} has {count}:" + "".join(f"\n  {problem}" for problem in problems))


def _expected(settings: "Settings", file: Path, tenant: str) -> str:
    """How long the canary will take, in words; empty for a first version. Not to know it stops no release."""
    from blocks.workspace import load_workspace
    from gateway.clock import SystemClock
    from tasks.expectation import expect_canary
    from tasks.specs.reading import read_spec

    try:
        spec = read_spec(file, load_workspace().policy_defaults).spec
        known = expect_canary.fn(settings, SystemClock(), spec.canary, tenant, spec.name)
    except PromptyardError as error:
        return f"how long the canary will take is not known: {error.message}"
    return known.in_words() if known is not None else ""


def _watched(
    run: "Callable[[Settings], Release]", expect: "Callable[[Settings], str] | None" = None
) -> "tuple[Settings, Release]":
    """The settings of the stack and the flow's result; stages are shown while it runs. Raises PromptyardError.

    What ``expect`` says is shown first.
    """
    from deployments.cli.prefect_runs import RunFailed, connected_to_servers, shown
    from deployments.cli.stages import StageView
    from tasks.specs.reading import SpecError

    try:
        with StageView() as view:
            view.begin(CONNECT)
            settings = connected_to_servers()
            if expect is not None:
                view.begin(EXPECT)
                view.end(expect(settings) or "a first version has no canary")
            flows, tasks = _stages()
            from tasks.fan_out import watched

            with shown(view, flows, tasks), watched(view.detail):
                return settings, run(settings)
    except SpecError as error:
        raise invalid_spec(error.path, error.problems) from None
    except (PromptyardError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise RunFailed(f"the run ended with {type(error).__name__}: {str(error)[:300]}") from error


def _stages() -> "tuple[dict[Any, str], dict[Any, str]]":
    """The flows and tasks that a person wants to see begin and end. Imports Prefect, so connect first."""
    from flows.gate_prompt import gate_prompt
    from flows.register_prompt import register_prompt
    from flows.warm_cache import warm_cache
    from tasks.gating import log_evaluation
    from tasks.releasing import hold_for_approval, refuse, reject, start_canary

    flows: dict[Any, str] = {register_prompt: REGISTER, gate_prompt: GATE, warm_cache: WARM}
    stages: dict[Any, str] = {start_canary: START, refuse: CLOSE, reject: CLOSE, hold_for_approval: CLOSE}
    details: tuple[Any, ...] = (log_evaluation,)
    return flows, {one.task: name for one, name in stages.items()} | {one.task: "" for one in details}


def _finish(
    settings: "Settings", ended: "Release", *, as_json: bool, rejected: bool = False, expected: str = ""
) -> None:
    from rich.console import Console

    from deployments.cli.release_view import as_plain, describe, print_release

    shown = describe(settings, ended)
    if as_json:
        typer.echo(json.dumps(as_plain(shown) | ({"expected": expected} if expected else {}), indent=2))
    else:
        print_release(shown, Console())
    raise typer.Exit(0 if rejected else exit_status(ended.stage))


def exit_status(stage: Any) -> int:
    """0: it is on its way; 2: the gate did not let it through; 1: an error."""
    return EXIT.get(str(stage), 1)
