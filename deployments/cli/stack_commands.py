"""``promptyard up``, ``down`` and ``status``."""

import json
from typing import Annotated

import typer

from deployments.cli.stack_home import stack_home


def register(app: typer.Typer) -> None:
    for command in (up, down, status):
        app.command()(command)


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is ready.")] = False,
    simulator: Annotated[bool, typer.Option("--simulator", help="Use the simulator whatever keys are set.")] = False,
) -> None:
    """Start the local stack: Redis, Prefect, MLflow, simulator (or your keys), gateway. Ctrl-C stops all of it."""
    import signal

    from deployments.cli.stack_view import StackView, print_running
    from deployments.stack.errors import AlreadyRunning
    from deployments.stack.lifecycle import StopRequest, follow, run_stack, start_detached
    from deployments.stack.local import plan_local_stack
    from deployments.stack.lock import lock_owner
    from deployments.stack.state import Phase, load_stack
    from gateway.settings import Settings

    home = stack_home()
    home.prepare()
    if lock_owner(home.lock_file):
        state = load_stack(home)
        if state and state.phase is Phase.READY:
            print_running(home, state, already=True)
            return
    if detach:
        arguments = ["-m", "deployments.stack.daemon", *(["--simulator"] if simulator else [])]
        with StackView() as view:
            state = start_detached(home, arguments, view.show)
        print_running(home, state)
        return
    settings, stop = Settings(), StopRequest()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop.ask)
    try:
        with StackView(on_ready=lambda state: print_running(home, state, foreground=True)) as view:
            run_stack(
                home,
                lambda ports: plan_local_stack(settings, home, ports, force_simulator=simulator),
                view.show,
                stop,
            )
    except AlreadyRunning:
        with StackView() as view:
            state = follow(home, view.show)
        print_running(home, state)


def down() -> None:
    """Stop the local stack and whatever a killed supervisor left behind."""
    from deployments.cli.stack_view import StackView, console
    from deployments.stack.lifecycle import stop_stack

    home = stack_home()
    with StackView(stopping=True) as view:
        ended = stop_stack(home, view.show)
    console.print(f"Stopped ({ended} ended)." if ended else f"Nothing was running in {home.root}.", soft_wrap=True)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Show what runs, where, what crashed, and which releases are open.

    Exit status 0 when everything is ready, 3 otherwise.
    """
    from deployments.cli.open_releases import print_open_releases, read_open_releases
    from deployments.cli.stack_view import console, print_status
    from deployments.stack.report import report

    found = report(stack_home())
    releases = read_open_releases() if found.state is not None else []
    if as_json:
        typer.echo(json.dumps(found.as_json() | {"releases": releases}, indent=2))
    else:
        print_status(found)
        print_open_releases(releases, console)
    raise typer.Exit(0 if found.healthy else 3)
