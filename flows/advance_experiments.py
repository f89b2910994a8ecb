"""One idempotent step of each open experiment: other weights, an end, or nothing.

``advance_canaries`` runs it every minute, and repairs what a killed run did not push. Never sleeps, holds no state, may
be killed anywhere.
"""

from dataclasses import dataclass
from typing import Any

from prefect import flow
from prefect.logging import get_run_logger

from blocks.workspace import load_workspace
from gateway.clock import Clock, SystemClock
from gateway.settings import Settings
from tasks.alerts import alert
from tasks.artifacts import artifact_key, image, markdown, markdown_table
from tasks.experimenting import advance, list_open, told, untold
from tasks.experiments.business import worth_now
from tasks.experiments.plots import overview
from tasks.experiments.view import arm_rows, headline, next_in_words, segment_rows
from tasks.experiments.weights import Found, Stepped
from tasks.registration import engine_of


@dataclass(frozen=True)
class Experiment:
    """Where an experiment stands, for people and machines. ``done``: hold, reweight, finish; shares of 1 by version."""

    id: str
    prompt: str
    policy: str
    stage: str
    epoch: int
    done: str
    note: str
    shares: dict[str, float]

    @classmethod
    def of(cls, stepped: Stepped) -> "Experiment":
        row = stepped.found.row
        shares = {str(arm["version"]): int(arm["weight"]) / 10_000 for arm in row.arms}
        return cls(row.id, row.prompt, row.policy, row.stage, row.epoch, stepped.done, stepped.note, shares)


@flow(name="advance_experiments", persist_result=False)
def advance_experiments() -> list[Experiment]:
    """Weights follow the evidence so far; an A/B test that is decided ends. Nothing is ever promoted by this.

    One that cannot be looked at holds up no other, and fails the run in the end.
    """
    settings, clock = load_workspace().settings, SystemClock()
    experiments: list[Experiment] = []
    failed: list[Exception] = []
    for row in list_open(settings):
        try:
            experiments.append(_advanced(settings, clock, row.id))
        except Exception as error:
            get_run_logger().error("%s %s is not advanced: %s", row.prompt, row.id, type(error).__name__)
            failed.append(error)
    for row in untold(settings, clock):
        alert(settings, "experiment_finished", f"{row.prompt}: the experiment ended: {row.reason}", experiment=row.id)
        told(settings, clock, row.id)
    if failed:
        raise failed[0]
    return experiments


def _advanced(settings: Settings, clock: Clock, experiment_id: str) -> Experiment:
    stepped = advance(settings, clock, experiment_id)
    experiment = Experiment.of(stepped)
    get_run_logger().info("%s %s: %s, %s", experiment.prompt, experiment.id, stepped.done, stepped.note)
    if stepped.done != "hold":
        _show(stepped.found, worth_now(engine_of(settings), stepped.found))
    return experiment


def _show(found: Found, worth: list[dict[str, Any]]) -> None:
    title = headline(found)
    text = f"# {title}\n\n{next_in_words(found)}\n\n{markdown_table(arm_rows(found))}\n"
    if segments := segment_rows(found):
        text += f"## By segment\n\n{markdown_table(segments)}\n"
    if worth:
        text += f"## Worth, in US dollars per 1,000 calls\n\n{markdown_table([_worth_row(one) for one in worth])}\n"
        text += "".join(f"- {one['version']}: {one['recommendation']}\n" for one in worth)
    left_out = ", ".join(f"{reason} {count}" for reason, count in found.look.gathered.excluded.items())
    text += f"\nCalls that say nothing about an arm: {left_out or 'none'}.\n"
    markdown(artifact_key("experiment", found.row.prompt), text, title)
    image(artifact_key("experiment", found.row.prompt, "plot"), overview(found), title)


def _worth_row(one: dict[str, Any]) -> dict[str, Any]:
    gain = one["gain_per_1000_calls"]
    return {
        "version": one["version"],
        "net value": one["per_1000_calls"]["mean"],
        "baseline's": one["baseline_per_1000_calls"]["mean"],
        "gain": gain["mean"],
        "gain, 95 %": f"{gain['lower']:,.2f} to {gain['upper']:,.2f}",
        "probability of loss": one["probability_of_loss"],
    }
