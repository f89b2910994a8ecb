"""``promptyard register``: a version that may be an arm of an experiment, or be released later. Changes no traffic."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.release import CONNECT, GATE, REGISTER, invalid_spec

if TYPE_CHECKING:
    from gateway.settings import Settings

EXIT = {"pass": 0, "fail": 2, "inconclusive": 2}
"""Exit status by the gate's verdict; anything else is 1."""


def register(app: typer.Typer) -> None:
    app.command("register")(register_version)


def register_version(
    path: Annotated[Path, typer.Argument(help="A prompt.yaml, or the folder that holds one.")],
    gate: Annotated[
        bool, typer.Option("--gate", help="Evaluate it too, against production. Status 2: no pass.")
    ] = False,
    author: Annotated[str, typer.Option("--author", help="Who changed it; by default the file's author.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose prompt; PROMPTYARD_TENANT by default.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Register a version without releasing it: no user sees it until a release or an experiment names it."""
    from tasks.specs.reading import SpecError, read_spec

    file = path / "prompt.yaml" if path.is_dir() else path
    try:
        read_spec(file)  # a wrong file is told at once, without any server
        name, version, verdict, reasons = _run(file, gate, author, tenant)
    except SpecError as error:
        raise invalid_spec(error.path, error.problems) from None
    if as_json:
        facts: dict[str, Any] = {"prompt": name, "version": version, "verdict": verdict or None, "reasons": reasons}
        typer.echo(json.dumps(facts))
    else:
        typer.echo(f"{name} {version} is registered; nobody sees it yet.")
        if verdict:
            typer.echo(f"gate: {verdict}: {'; '.join(reasons)}")
    raise typer.Exit(EXIT.get(verdict, 1) if verdict else 0)


def _run(file: Path, gate: bool, author: str, tenant: str) -> tuple[str, str, str, list[str]]:
    """Name, version, and the gate's verdict with its reasons where it was asked."""
    from deployments.cli.prefect_runs import RunFailed, connected_to_servers, shown
    from deployments.cli.stages import StageView
    from gateway.errors import PromptyardError
    from tasks.specs.reading import SpecError

    try:
        with StageView() as view:
            view.begin(CONNECT)
            settings: Settings = connected_to_servers()
            from flows.gate_prompt import GateRequest, gate_prompt
            from flows.register_prompt import RegisterRequest, register_prompt

            owner = tenant or settings.tenant
            with shown(view, {register_prompt: REGISTER, gate_prompt: GATE}, {}):
                version = register_prompt(RegisterRequest(path=file, tenant=owner, author=author))
                if not gate:
                    return version.name, version.version, "", []
                verdict = gate_prompt(GateRequest(path=file, tenant=owner)).verdict
                return version.name, version.version, verdict.outcome.value, list(verdict.reasons)
    except (SpecError, PromptyardError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise RunFailed(f"the run ended with {type(error).__name__}: {str(error)[:300]}") from error
