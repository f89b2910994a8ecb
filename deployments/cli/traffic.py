"""``promptyard traffic``: play questions that users could ask against the gateway, and say what came back."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.stack_home import connected_settings, stack_home

if TYPE_CHECKING:
    from deployments.cli.release_watch import Read
    from deployments.traffic.plan import TrafficPlan
    from deployments.traffic.player import OnProgress
    from deployments.traffic.report import TrafficReport


def register(app: typer.Typer) -> None:
    app.command()(traffic)


def traffic(
    requests: Annotated[int, typer.Option("--requests", "-n", min=1, help="How many questions.")] = 200,
    users: Annotated[int, typer.Option("--users", "-u", min=1, help="By how many users.")] = 50,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, max=512, help="How many ask at a time.")] = 8,
    prompt: Annotated[str, typer.Option("--prompt", help="Which prompt is asked.")] = "help-centre",
    seed: Annotated[int, typer.Option("--seed", help="The same seed asks the same in the same order.")] = 1,
    feedback_share: Annotated[
        float, typer.Option("--feedback-share", min=0, max=1, help="Share of the answers that users rate.")
    ] = 0.3,
    rate: Annotated[float, typer.Option("--rate", help="Requests a second in all; 0: as fast as it goes.")] = 0.0,
    duration: Annotated[float, typer.Option("--duration", help="Stop after so many seconds; 0: never.")] = 0.0,
    pool: Annotated[Path | None, typer.Option("--pool", help="JSON lines; by default the prompt's own.")] = None,
    user_prefix: Annotated[str, typer.Option("--user-prefix", help="What the users' names begin with.")] = "user-",
    context: Annotated[
        list[str] | None,
        typer.Option("--context", help="What users say about themselves, for contextual experiments: plan=free,pro"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Ask questions as users would, rate some of the answers, report rates, latencies, hits and versions.

    While a release of the prompt is open its arms are shown beside: shares, scores, e-values.
    Ctrl-C ends it early, with a report. Exit status 1 when not a single answer came back.
    """
    import asyncio

    from rich.console import Console

    from deployments.cli.gateway_client import gateway_url, home_key, open_gateway
    from deployments.cli.release_watch import ReleaseWatch
    from deployments.cli.release_watch import as_json as release_as_json
    from deployments.cli.traffic_view import TrafficView, print_report
    from deployments.traffic.plan import TrafficPlan, read_contexts, read_pool

    home, settings = stack_home(), connected_settings()
    plan = TrafficPlan(
        base_url=gateway_url(home, settings),
        key=home_key(home),
        prompt=prompt,
        pool=read_pool(pool or _pool_of(prompt)),
        requests=requests,
        users=users,
        workers=workers,
        seed=seed,
        feedback_share=feedback_share,
        rate=rate,
        duration=duration,
        user_prefix=user_prefix,
        contexts=read_contexts(context or ()),
    )
    with open_gateway(home, settings) as gateway:
        gateway.call("GET", "v1", "prompts", prompt)  # no gateway, no such prompt: said once, not once a request
    watch = ReleaseWatch(_release_reader(settings.tenant, prompt))
    with watch, TrafficView(plan, release=lambda: watch.now) as view:
        report = asyncio.run(_until_interrupted(plan, view.show))
    if as_json:
        typer.echo(json.dumps({**report.to_json(), "release": release_as_json(watch.now)}, indent=2))
    else:
        print_report(report, Console(), watch.now)
    raise typer.Exit(0 if report.answers else 1)


async def _until_interrupted(plan: "TrafficPlan", on_progress: "OnProgress") -> "TrafficReport":
    """The first Ctrl-C lets the calls in flight come back; the second one ends the command."""
    import asyncio
    import signal

    from deployments.traffic.player import play

    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stop.set()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    return await play(plan, on_progress=on_progress, stop=stop)


def _release_reader(tenant: str, prompt: str) -> "Read":
    """Reads this home's ledger; without one there is nothing to watch."""
    from deployments.cli.ledger_access import open_ledger
    from gateway.errors import PromptyardError
    from tasks.releases.live import release_now

    try:
        _, engine = open_ledger()
    except PromptyardError:
        return lambda release_id: None
    return lambda release_id: release_now(engine, tenant, prompt, release_id)


def _pool_of(prompt: str) -> Path:
    """The questions that come with a prompt. Raises NotFound."""
    from deployments.traffic.plan import DEFAULT_POOL
    from gateway.errors import NotFound

    path = DEFAULT_POOL.parent.parent / prompt / DEFAULT_POOL.name
    if not path.is_file():
        raise NotFound(f"no questions come with the prompt {prompt!r}", hint="Name a file of them: --pool FILE.")
    return path
