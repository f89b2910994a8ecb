"""``promptyard cache semantic``: what similar questions could save, how many would be wrong, and what is proved."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.ledger_access import open_ledger

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tasks.semantic_report import ScopeReport

_POINTS = 12


def register(group: typer.Typer) -> None:
    group.command("semantic")(semantic)


def semantic(
    prompt: Annotated[str, typer.Argument(help="Name of the prompt.")],
    version: Annotated[str, typer.Option("--version", help="Of one version only.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose; PROMPTYARD_TENANT by default.")] = "",
    off: Annotated[bool, typer.Option("--off", help="Serve no similar answers, whatever is proved.")] = False,
    on: Annotated[bool, typer.Option("--on", help="Leave it to what is proved again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Precision against hit rate, the threshold, the bound on wrong hits, what the guards vetoed, near-misses."""
    from rich.console import Console

    from deployments.cli.stages import StageView
    from gateway.errors import InvalidRequest

    if on and off:
        raise InvalidRequest("--on and --off at once", hint="Leave one of them out.")
    with StageView() as view:
        view.begin("add up")
        settings, engine = open_ledger()
        from tasks.semantic_report import report

        found = report(engine, tenant or settings.tenant, prompt, version)
        if on or off:
            view.begin("switch")
            _switch(settings, found, off)
            found = report(engine, tenant or settings.tenant, prompt, version)
    if as_json:
        typer.echo(json.dumps([as_plain(one) for one in found], indent=2))
        return
    out = Console(emoji=False)  # a recipe has :colons:
    if not found:
        out.print(_nothing(prompt, settings.ledger_content), highlight=False)
    for one in found:
        _print(one, out)


def _switch(settings: Any, found: "list[ScopeReport]", off: bool) -> None:
    """Every scope that was decided on; the gateways are told at once. Raises StorageUnavailable."""
    from gateway.errors import NotFound
    from tasks.semantic_judging import hold_and_tell

    decided = [one.scope for one in found if one.standing.attempt or one.held or one.judged]
    if not decided:
        raise NotFound("nothing was judged yet, so nothing is served", hint="There is nothing to switch off or on.")
    for scope in decided:
        hold_and_tell(settings, scope, off)


def _nothing(prompt: str, content: str) -> str:
    if content == "off":
        return (
            "The ledger keeps no questions and answers (PROMPTYARD_LEDGER_CONTENT=off): "
            "nothing can be judged, so no similar answers are served."
        )
    return f"No similar questions of {prompt} were met yet. Live traffic that misses the exact cache brings them."


def said(one: "ScopeReport") -> list[str]:
    """Everything that is no table, a line each."""
    standing, policy = one.standing, one.policy
    lines = [f"{one.scope.prompt} {one.scope.version}, compared by {one.scope.recipe}: {one.state}."]
    if one.lexical:
        lines.append(
            "The embedder is lexical: it knows words, not meaning, and finds few paraphrases. "
            "PROMPTYARD_EMBEDDER names a better one."
        )
    if standing.threshold is None:
        lines.append(f"No threshold yet: {standing.reason or 'no judged pairs'}.")
    else:
        lines.append(
            f"Threshold {standing.threshold:.4f} (the {_th(standing.attempt)} one), fitted on {standing.fit_pairs} "
            f"judged pairs for a precision of {policy.precision:.0%}."
        )
        lines.append(
            f"Since then {standing.wrong} of {standing.pairs} judged hits were wrong: at most {standing.upper:.2%}, "
            f"whenever one looks (95 %); {policy.max_wrong:.1%} are allowed."
        )
    if one.needed:
        lines.append(f"{one.needed} more judged hits without a wrong one prove it.")
    elif standing.threshold is not None and one.needed is None:
        lines.append("It is not in sight how many more judged hits would prove it.")
    lines.append(f"{one.judged} pairs are judged, {one.waiting} wait.")
    return lines


def curve_table(one: "ScopeReport") -> "Table":
    """What each threshold would have done on the judged pairs, with 95 % intervals."""
    table = _table(("threshold", "judged hits", "wrong", "precision", "95 %", "hit rate", "95 %", ""))
    points = list(one.curve)
    chosen = one.standing.threshold
    at_least = [point for point in points if chosen is not None and point.threshold >= chosen]
    step = max(1, -(-len(points) // _POINTS))
    for place, point in enumerate(points):
        mine = bool(at_least) and point is at_least[-1]  # newer pairs than those that chose it lie between
        if place % step and not mine and place != len(points) - 1:
            continue
        table.add_row(
            f"{point.threshold:.4f}",
            str(point.hits),
            str(point.wrong),
            f"{point.precision:.1%}",
            f"{point.precision_low:.1%} to {point.precision_high:.1%}",
            f"{point.hit_rate:.1%}",
            f"{point.hit_rate_low:.1%} to {point.hit_rate_high:.1%}",
            "chosen" if mine else "",
            style="bold green" if mine else "",
        )
    return table


def vetoes_table(one: "ScopeReport") -> "Table":
    """What the guards rejected, and what that cost: those that the judge found right all the same."""
    table = _table(("guard", "pairs vetoed", "judged", "right all the same"))
    for veto in one.vetoes:
        table.add_row(veto.guard.replace("_", " "), str(veto.pairs), str(veto.judged), str(veto.right))
    return table


def as_plain(one: "ScopeReport") -> dict[str, Any]:
    """For machines; shares are of 1."""
    from dataclasses import asdict

    from msgspec.structs import asdict as struct_as_dict

    return {
        **struct_as_dict(one.scope),
        "mode": one.policy.mode.value,
        "max_wrong": one.policy.max_wrong,
        "precision": one.policy.precision,
        **asdict(one.standing),
        "held": one.held,
        "lexical": one.lexical,
        "judged": one.judged,
        "waiting": one.waiting,
        "still_needed": one.needed,
        "questions": one.questions,
        "curve": [asdict(point) for point in one.curve],
        "vetoes": [asdict(veto) for veto in one.vetoes],
        "rejected": [asdict(example) for example in one.rejected],
        "wrong_examples": [asdict(example) for example in one.wrong],
    }


def _print(one: "ScopeReport", out: "Console") -> None:
    for line in said(one):
        out.print(line, highlight=False, markup=False)
    if one.curve:
        out.print(curve_table(one))
    if one.vetoes:
        out.print(vetoes_table(one))
    for title, examples in (("Rejected near-misses", one.rejected), ("Judged wrong", one.wrong)):
        if examples:
            out.print(title, style="dim")
        for example in examples:
            out.print(
                f"  {example.similarity:.3f}  {example.asked!r}  is not  {example.kept!r}  ({example.why})",
                highlight=False,
                markup=False,
            )


def _table(titles: tuple[str, ...]) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for place, title in enumerate(titles):
        table.add_column(title, justify="right" if 0 < place < len(titles) - (not titles[-1]) else "left")
    return table


def _th(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
