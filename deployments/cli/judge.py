"""``promptyard judge``: how far the model that scores answers can be trusted."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.ledger_access import open_ledger

if TYPE_CHECKING:
    from rich.table import Table

    from tasks.judge_calibration import Calibrated, PairsCalibrated
    from tasks.specs.model import GateSpec
    from tasks.statistics.agreement import Interval


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="How far the model that scores answers can be trusted.", no_args_is_help=True)
    group.command("calibrate")(calibrate)
    app.add_typer(group, name="judge")


def calibrate(
    file: Annotated[Path, typer.Argument(help="Labelled examples: JSON lines, or CSV.")],
    spec: Annotated[Path | None, typer.Option("--spec", help="A prompt.yaml whose judge and margin it is.")] = None,
    model: Annotated[str, typer.Option("--model", help="provider/model, in place of the spec's.")] = "",
    criteria: Annotated[str, typer.Option("--criteria", help="Separated by commas, in place of the spec's.")] = "",
    margin: Annotated[float | None, typer.Option("--margin", min=0.001, max=0.999, help="Of the gate.")] = None,
    right_from: Annotated[
        float, typer.Option("--right-from", min=0, max=1, help="Score from which it is right.")
    ] = 0.5,
    freeze_to: Annotated[Path | None, typer.Option("--freeze", help="Write examples and scores as anchors.")] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Who asks; PROMPTYARD_TENANT by default.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Hold the judge against examples that people labelled: κ, sensitivity, specificity, and what margin it carries.

    A row has question, answer and label (right or wrong), or question, answer_a, answer_b and better (a, b or tie);
    reference or documents ground the judge. What is found is kept: releases that are opened from now on report their
    scores corrected by it too.
    """
    from deployments.cli.stages import StageView
    from gateway.clock import SystemClock
    from gateway.errors import InvalidRequest
    from tasks.judge_calibration import Calibrated, LabelledPair, calibrate_judge, calibrate_pairs, read_labels
    from tasks.releases.judged import keep_counts

    examples = read_labels(file)
    if freeze_to and isinstance(examples[0], LabelledPair):
        raise InvalidRequest("pairs cannot be frozen", hint="Anchors are single answers: question, answer, label.")
    gate = _gate(spec, model, criteria, margin)
    with StageView() as view:
        view.begin("judge")
        settings, engine = open_ledger()
        owner = tenant or settings.tenant
        view.detail(f"{len(examples)} examples, {gate.judge.model}")
        pairs = [one for one in examples if isinstance(one, LabelledPair)]
        singles = [one for one in examples if not isinstance(one, LabelledPair)]
        found: Calibrated | PairsCalibrated = (
            calibrate_pairs(settings, owner, gate.judge.model, pairs)
            if pairs
            else calibrate_judge(settings, owner, gate.judge, singles, margin=gate.margin, right_from=right_from)
        )
        if isinstance(found, Calibrated) and found.counts:
            keep_counts(engine, SystemClock(), owner, found.counts)
        if freeze_to and isinstance(found, Calibrated):
            from tasks.judge_anchors import freeze

            count = freeze(freeze_to, singles, found.scores, found.judge)
            view.end(f"{count} anchors frozen in {freeze_to}; name the file as gate.judge.anchors")
    if as_json:
        typer.echo(json.dumps({"model": gate.judge.model, **plain(found)}, indent=2))
        return
    show(found, gate)


def _gate(spec: Path | None, model: str, criteria: str, margin: float | None) -> "GateSpec":
    """The spec's gate, or the default one, with what the options say. Raises InvalidRequest."""
    from pydantic import ValidationError

    from gateway.errors import InvalidRequest
    from tasks.specs.model import GateSpec
    from tasks.specs.reading import SpecError, read_spec

    try:
        gate = read_spec(spec).spec.gate if spec else GateSpec()
        judge = gate.judge.model_dump()
        if model:
            judge["model"] = model
        if criteria:
            judge["criteria"] = [one.strip() for one in criteria.split(",") if one.strip()]
        return GateSpec.model_validate({"margin": margin or gate.margin, "judge": judge})
    except SpecError as error:
        raise InvalidRequest(str(error), hint="Mend the spec, or leave --spec out.") from None
    except ValidationError as error:
        said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InvalidRequest(said, hint="--model provider/model --criteria accuracy,helpfulness") from None


def plain(found: "Calibrated | PairsCalibrated") -> dict[str, Any]:
    """For machines; shares are of 1, intervals have value, low, high and the number of examples."""
    from dataclasses import asdict

    return asdict(found)


def show(found: "Calibrated | PairsCalibrated", gate: "GateSpec") -> None:
    """The figures as a table, then what they mean for the margin."""
    from rich.console import Console

    from gateway.errors import ProviderError

    out = Console()
    calibration = getattr(found, "found", None)
    if hasattr(found, "found") and calibration is None:
        raise ProviderError(
            f"{gate.judge.model} gave no readable verdict", hint="Is its provider reachable? 'promptyard status'."
        )
    out.print(f"{gate.judge.model}, judge version {found.judge}", highlight=False, markup=False)
    if calibration is None:
        out.print(_figures({name: getattr(found, name) for name in ("kappa", "agreement", "flipped", "decided_right")}))
    else:
        names = ("kappa", "sensitivity", "specificity", "youden")
        out.print(_figures({name: getattr(calibration, name) for name in names}))
    if found.not_judged:
        out.print(f"{found.not_judged} examples got no readable verdict; they are left out.", highlight=False)
    if calibration is None:
        return
    if calibration.margin_carried is not None:
        out.print(
            f"A loss seen as {calibration.margin:g} may be a true one of {calibration.margin_carried:.3f} "
            f"(margin / J, J = sensitivity + specificity − 1, by its lower bound).",
            highlight=False,
        )
    for warning in calibration.warnings:
        out.print(f"warning: {warning}.", style="yellow", highlight=False, markup=False)


_TITLES = {
    "kappa": "Cohen's κ",
    "youden": "J",
    "agreement": "same verdict",
    "flipped": "changes with the order",
    "decided_right": "right where neither says tie",
}


def _figures(found: "dict[str, Interval | None]") -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for title in ("", "value", "95 %", "examples"):
        table.add_column(title, justify="left" if not title else "right")
    for name, one in found.items():
        if one is None:
            table.add_row(_TITLES.get(name, name), "–", "no such examples", "0")
        else:
            table.add_row(_TITLES.get(name, name), f"{one.value:.3f}", f"{one.low:.3f} to {one.high:.3f}", str(one.of))
    return table
