"""How a release ended, in a panel: outcome, reasons, share of users, where to look."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway.settings import Settings

if TYPE_CHECKING:
    from tasks.releasing import Release

LOOKUP_TIMEOUT = 3.0
_STYLES = {
    "promoted": "green",
    "canary": "green",
    "mirror": "green",
    "awaiting_approval": "yellow",
    "inconclusive": "yellow",
}
_FIRST = (
    "It is the first version: there is nothing to go back to yet. 'promptyard versions {prompt}' shows how it does."
)
_NEXT = {
    "mirror": "No user sees it before mirrored calls are compared: 'promptyard status' follows it,"
    " 'promptyard rollback {prompt}' ends it.",
    "canary": "'promptyard versions {prompt}' follows it; 'promptyard rollback {prompt}' ends it.",
    "awaiting_approval": "'promptyard approve {id} --by NAME' lets it go on,"
    " 'promptyard reject {id} --by NAME --reason WHY' ends it.",
    "promoted": "'promptyard rollback {prompt}' goes back to {baseline}.",
    "inconclusive": "Too little is known to let it through: add golden questions, or release it again.",
    "refused": "Correct the prompt, raise its version and release it again.",
}


@dataclass(frozen=True)
class ShownRelease:
    """A release with the gate's reasons and the pages to look at."""

    id: str
    tenant: str
    prompt: str
    version: str
    baseline: str
    stage: str
    share_percent: float
    reasons: Sequence[str]
    gate: str
    """The gate's outcome, empty when it did not finish."""
    verdict: Mapping[str, Any]
    """Its figures, where the release's steps keep them."""
    links: Mapping[str, str]


def describe(settings: Settings, ended: "Release") -> ShownRelease:
    """What the ledger says about the release. Reads SQL, and MLflow for the address of its experiment."""
    from tasks.registration import engine_of
    from tasks.releases import store

    engine = engine_of(settings)
    row = store.get_release(engine, ended.id)
    gated = next((step for step in reversed(store.steps_of(engine, ended.id)) if step.kind == "gated"), None)
    verdict = dict(gated.evidence.get("verdict", {})) if gated else {}
    version = store.get_version(engine, ended.tenant, ended.prompt, ended.version)
    return ShownRelease(
        id=ended.id,
        tenant=ended.tenant,
        prompt=ended.prompt,
        version=ended.version,
        baseline=ended.baseline,
        stage=str(ended.stage),
        share_percent=ended.weight_percent,
        # A gate has several reasons, each a line; the release's own one is all of them in a row.
        reasons=tuple(verdict.get("reasons") or filter(None, [ended.reason])),
        gate=version.verdict,
        verdict=verdict,
        links=_links(settings, ended, row.flow_run, version.gate_run),
    )


def _links(settings: Settings, ended: "Release", flow_run: str, gate_run: str) -> dict[str, str]:
    from tasks.registry import registry_name

    links: dict[str, str] = {}
    if settings.prefect_api_url and flow_run:
        links["Prefect run"] = f"{settings.prefect_api_url.rstrip('/').removesuffix('/api')}/runs/flow-run/{flow_run}"
    mlflow = settings.mlflow_tracking_uri.rstrip("/")
    experiment = experiment_id(mlflow, f"promptyard/{registry_name(ended.tenant, ended.prompt)}")
    if experiment:
        links["MLflow experiment"] = f"{mlflow}/#/experiments/{experiment}"
        if gate_run:
            links["MLflow evaluation"] = f"{mlflow}/#/experiments/{experiment}/runs/{gate_run}"
    return links


def experiment_id(mlflow: str, name: str) -> str:
    """MLflow's id of an experiment by its REST API; empty when it cannot be had, for a link is not worth an error."""
    if not mlflow.startswith(("http://", "https://")):
        return ""
    url = f"{mlflow}/api/2.0/mlflow/experiments/get-by-name?experiment_name={quote(name, safe='')}"
    try:
        with urllib.request.urlopen(url, timeout=LOOKUP_TIMEOUT) as answer:  # noqa: S310
            return str(json.loads(answer.read())["experiment"]["experiment_id"])
    except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError):
        return ""


def as_plain(shown: ShownRelease) -> dict[str, Any]:
    """For machines."""
    return {
        "id": shown.id,
        "tenant": shown.tenant,
        "prompt": shown.prompt,
        "version": shown.version,
        "baseline": shown.baseline or None,
        "stage": shown.stage,
        "share_percent": shown.share_percent,
        "reasons": list(shown.reasons),
        "gate": shown.gate or None,
        "verdict": dict(shown.verdict),
        "links": {name.lower().replace(" ", "_"): url for name, url in shown.links.items()},
    }


def print_release(shown: ShownRelease, out: Console) -> None:
    """The panel, then what to do next."""
    style = _STYLES.get(shown.stage, "red")
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("release", shown.id)
    facts.add_row("before", shown.baseline or "nothing: this is the first version")
    facts.add_row("gate", shown.gate or "-")
    facts.add_row("serves", f"{shown.share_percent:g} % of the users")
    for number, reason in enumerate(shown.reasons):
        facts.add_row("" if number else "because", Text(reason))
    title = Text.assemble((f"{shown.prompt} {shown.version}", "bold"), ": ", (shown.stage.replace("_", " "), style))
    out.print(Panel(Group(facts), title=title, title_align="left", border_style=style, expand=False))
    for name, url in shown.links.items():
        out.print(Text.assemble((f"{name:<18}", "dim"), (url, "cyan")), soft_wrap=True)
    if shown.stage in _NEXT:
        out.print(Text(_next(shown), "dim"), soft_wrap=True)


def _next(shown: ShownRelease) -> str:
    words = _FIRST if shown.stage == "promoted" and not shown.baseline else _NEXT[shown.stage]
    return words.format(prompt=shown.prompt, id=shown.id, baseline=shown.baseline)
