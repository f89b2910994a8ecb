"""``promptyard demo``: the whole life of a prompt on this machine, each step checked."""

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from deployments.demo.stage import Stage
    from deployments.demo.story import Playbill


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running, to look around.")] = False,
) -> None:
    """Play a prompt's whole life on embedded defaults, in a temporary home. Exit status 1 if a step fails."""
    from rich.console import Console

    from deployments.cli.quiet import quiet_libraries
    from deployments.cli.stack_view import StackView
    from deployments.demo.stage import lower_curtain, raise_curtain

    for number in (signal.SIGTERM, signal.SIGHUP):  # whoever ends the demo, it leaves nothing running
        signal.signal(number, lambda *_: sys.exit(130))
    console = Console(highlight=False)
    begun = time.monotonic()
    console.print("[bold]promptyard demo[/]  real Prefect, MLflow, Redis and SQL; the model providers are simulated\n")
    stage: Stage | None = None
    succeeded = False
    try:
        with StackView(out=console) as view:
            stage = raise_curtain(view.show)
        quiet_libraries()
        succeeded = _play(stage, console, begun)
    finally:
        if stage is not None:
            stage.close()
            if keep:
                _how_to_look_around(console, stage)
            else:
                with StackView(stopping=True, out=console) as view:
                    lower_curtain(stage.home, view.show)
                _tidy(stage.home.root, succeeded, console)
    sys.exit(0 if succeeded else 1)


def _play(stage: "Stage", console: "Console", begun: float) -> bool:
    from rich.markup import escape

    from deployments.demo.stage import StoryBroken
    from deployments.demo.story import Story

    story = Story(stage, lambda line: _tell(console, line, time.monotonic() - begun))
    try:
        playbill = story.play()
    except Exception as problem:  # whatever it is: say it in a line, and where to look
        said = str(problem) if isinstance(problem, StoryBroken) else f"{type(problem).__name__}: {problem}"
        console.print("\n[bold red]✗ The story broke:[/]", escape(said))
        console.print(f"  Logs: {stage.home.root / 'logs'}")
        return False
    _show(console, stage, playbill, time.monotonic() - begun)
    return True


def _tell(console: "Console", line: str, elapsed: float) -> None:
    from rich.markup import escape

    clock = f"[dim]{int(elapsed) // 60}:{int(elapsed) % 60:02d}[/]"
    if line.startswith("# "):
        console.print(f"\n{clock} [bold]{escape(line[2:])}[/]")
    elif line.startswith("✓ "):
        console.print(f"     [green]✓[/] {escape(line[2:])}")
    else:
        console.print(f"     [dim]·[/] {escape(line)}")


def _show(console: "Console", stage: "Stage", playbill: "Playbill", seconds: float) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"\nWhat happened in {seconds / 60:.1f} minutes", title_justify="left", title_style="bold")
    table.add_column("step", style="bold", ratio=2)
    table.add_column("what happened", ratio=4)
    table.add_column("s", justify="right")
    for event in playbill.events:
        table.add_row(event.title, escape(event.outcome), f"{event.seconds:.0f}")
    console.print(table)
    console.print("\n[bold]To look at[/] (with [bold]--keep[/] they stay up)")
    urls = stage.urls
    links = {
        "Releases, step by step": f"{urls['prefect']}/runs",
        "Evidence, costs, drift": f"{urls['prefect']}/artifacts",
        "Prompt versions": f"{urls['mlflow']}/#/prompts",
        "Evaluations and canaries": f"{urls['mlflow']}/#/experiments",
        **playbill.links,
    }
    for name, link in links.items():
        console.print(f"  {name:<26} {link}", soft_wrap=True)
    console.print()


def _how_to_look_around(console: "Console", stage: "Stage") -> None:
    home = stage.home.root
    console.print(f"\nStill running. Look around, then: PROMPTYARD_HOME={home} promptyard down", soft_wrap=True)


def _tidy(home: Path, succeeded: bool, console: "Console") -> None:
    import shutil

    if succeeded:
        shutil.rmtree(home, ignore_errors=True)
    else:
        console.print(f"What it left is in {home}", soft_wrap=True)
