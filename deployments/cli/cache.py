"""``promptyard cache``: remove answers from the cache, or say what would go."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli import cache_advise, cache_semantic, cache_stats, cache_warm
from deployments.cli.ledger_access import open_ledger
from deployments.cli.stack_home import connected_settings
from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from tasks.cache_scope import CacheScope
    from tasks.invalidation import Survey

PROBE = 200
"""Remaining answers whose documents are held against SQL."""


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The answer cache: stats, advise, warm, semantic, invalidate.", no_args_is_help=True)
    group.command("invalidate")(invalidate)
    cache_stats.register(group)
    cache_advise.register(group)
    cache_warm.register(group)
    cache_semantic.register(group)
    group.callback()(_only_groups)
    app.add_typer(group, name="cache")


def _only_groups() -> None:
    """The answer cache."""  # a group with one command would otherwise be that command


def invalidate(
    prompt: Annotated[str, typer.Option("--prompt", help="All answers of a prompt.")] = "",
    version: Annotated[str, typer.Option("--version", help="Of one version only; needs --prompt.")] = "",
    document: Annotated[str, typer.Option("--document", help="Answers made from a document: COLLECTION/ID.")] = "",
    tag: Annotated[str, typer.Option("--tag", help="All answers of prompts whose cache policy names this tag.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose; alone: all answers of that tenant.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All answers of the tenant.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Remove answers. Without an option: those that no call can be served with any more."""
    from deployments.cli.stages import StageView
    from gateway.clock import SystemClock
    from tasks.cache_scope import CacheScope

    if version and not prompt:
        raise InvalidRequest("a version needs its prompt", hint="Name the prompt too: --prompt NAME.")
    if everything and (prompt or version or document or tag):
        raise InvalidRequest("--all goes with no prompt, version, document or tag", hint="Leave one of them out.")
    settings = connected_settings()
    narrowed = bool(prompt or version or document or tag or everything)
    scope = CacheScope(tenant or (settings.tenant if narrowed else ""), prompt, version, document, tag)
    with StageView() as view:
        view.begin("go through")
        settings, _ = open_ledger()
        from tasks.invalidation import sweep

        # The function inside the task: no run is made of it, and Prefect may be down.
        survey = sweep.fn(settings, SystemClock(), scope, dry_run=dry_run, probe=PROBE, seed=1)
        # What a document grounded is warmed by 'update_documents'.
        if not scope.everything and not dry_run and not document:
            from tasks.warm_marks import forget_marks

            forget_marks.fn(settings, scope.tenant, prompt)
    if as_json:
        typer.echo(json.dumps(as_plain(scope, survey), indent=2))
        return
    for line in said(survey):
        typer.echo(line)


def said(survey: "Survey") -> list[str]:
    """What went or would go, why, and the proof about the rest; a line each."""
    gone = sum(survey.entries.values()) if survey.dry_run else survey.removed
    size = _size(sum(survey.sizes.values()))
    lines = [f"{gone} of {survey.seen} answers {'would go' if survey.dry_run else 'removed'} ({size})."]
    lines += [f"  {reason}: {count}" for reason, count in sorted(survey.entries.items()) if count]
    if survey.questions:
        verb = "would be" if survey.dry_run else "were"
        lines.append(f"{survey.questions} questions of the semantic layer {verb} forgotten with them.")
    if survey.probed:
        lines.append(f"{survey.probed} of the others held against their documents: {len(survey.stale)} stale.")
    return lines


def as_plain(scope: "CacheScope", survey: "Survey") -> dict[str, Any]:
    """For machines."""
    return {
        "tenant": scope.tenant or None,
        "prompt": scope.prompt or None,
        "version": scope.version or None,
        "document": scope.document or None,
        "tag": scope.tag or None,
        "dry_run": survey.dry_run,
        "seen": survey.seen,
        "removed": survey.removed,
        "questions": survey.questions,
        "entries": {str(reason): count for reason, count in survey.entries.items()},
        "bytes": {str(reason): count for reason, count in survey.sizes.items()},
        "probed": survey.probed,
        "stale": list(survey.stale),
    }


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
