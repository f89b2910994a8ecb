"""One idempotent step of an open experiment: look, then set other weights, end it, or leave it. May be killed anywhere.

Weights and the step that tells of them are one transaction, by compare-and-set on the epoch: of two processes with the
same view one wins, and what the other saw changes nothing. The table is pushed after that, and by the next reconcile if
this process dies first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.errors import Conflict, InvalidRequest
from gateway.ledger.queries import experiment_calls
from gateway.prompts.projection import read_routing
from gateway.prompts.splits import Policy
from gateway.storage.engine import reading, writing
from gateway.storage.models import ExperimentRow, ExperimentStepRow
from gateway.types import RoutingTable
from tasks.experiments import store
from tasks.experiments.history import REWEIGHTED, STARTED, add_step, epochs_of, excluded_since, known_outcomes, steps_of
from tasks.experiments.look import Look, look_at
from tasks.experiments.options import ExperimentOptions
from tasks.experiments.standing import Shown
from tasks.statistics.thompson import basis_points

SCORE_SOURCES = ("judge", "assertion", "feedback")


@dataclass(frozen=True)
class Found:
    """An experiment as it stands: its row, its history, and what a look at the ledger says now."""

    row: ExperimentRow
    steps: Sequence[ExperimentStepRow]
    shown: Shown
    look: Look


@dataclass(frozen=True)
class Stepped:
    """What one step saw and did. ``table`` is to be pushed when there is one; ``done``: hold, reweight, finish."""

    found: Found
    done: str
    note: str
    table: RoutingTable | None = None


def start_experiment(
    engine: Engine,
    clock: Clock,
    *,
    tenant: str,
    prompt: str,
    policy: Policy,
    versions: Sequence[str],
    shares: Sequence[float],
    options: ExperimentOptions,
) -> tuple[ExperimentRow, RoutingTable | None]:
    """Open it and note how it began. ``shares``: parts of the users for each version, the baseline first.

    Raises what ``store.open_experiment`` raises.
    """
    if policy is not Policy.AB and options.floor * len(versions) >= 1.0:
        raise InvalidRequest(
            f"{len(versions)} arms of at least {options.floor:.0%} each leave nothing to learn with",
            hint=f"Less than {100 / len(versions):.3g} % each; 5 % are usual.",
        )
    weights = basis_points([share / sum(shares) for share in shares])
    arms = [{"version": version, "weight": weight} for version, weight in zip(versions, weights, strict=True)]
    with writing(engine) as session:
        row = store.open_experiment(session, tenant, prompt, policy.value, arms, options.model_dump(mode="json"), clock)
        by = f" by {options.author}" if options.author else ""
        add_step(session, clock, row, STARTED, f"{policy.value} of {', '.join(versions)} started{by}", {"outcomes": 0})
        return row, read_routing(session)


def stop_experiment(
    engine: Engine, clock: Clock, experiment_id: str, reason: str
) -> tuple[ExperimentRow, RoutingTable | None]:
    """The baseline serves everybody again. Raises NotFound, and Conflict when it has ended before."""
    with writing(engine) as session:
        row = store.find(session, experiment_id)
        if not store.end_experiment(session, row.id, "stopped", reason, clock):
            raise Conflict(f"experiment {row.id} is {row.stage}", hint="There is nothing to stop.")
        add_step(session, clock, row, store.STOPPED, reason, {})
        session.flush()
        return row, read_routing(session)


def found_now(engine: Engine, clock: Clock, experiment_id: str) -> Found:
    """The experiment with that id or beginning of one, and a look at it. Raises NotFound."""
    with reading(engine) as session:
        row = store.find(session, experiment_id)
        steps = steps_of(session, row.id)
    shown = Shown(
        policy=Policy(row.policy),
        options=ExperimentOptions.model_validate(row.spec),
        versions=tuple(str(arm["version"]) for arm in row.arms),
        excluded=excluded_since(row, steps),
        epochs=epochs_of(row, steps),
        known_outcomes=known_outcomes(steps),
        calls=experiment_calls(engine, row.id, sources=SCORE_SOURCES),
        now=clock.now(),
    )
    return Found(row, steps, shown, look_at(shown))


def advance(engine: Engine, clock: Clock, experiment_id: str) -> Stepped:
    """One step of an open experiment. Raises NotFound."""
    return act(engine, clock, found_now(engine, clock, experiment_id))


def act(engine: Engine, clock: Clock, found: Found) -> Stepped:
    """Do what follows from a look, unless the experiment is not what the look saw any more."""
    row, move = found.row, found.look.move
    if row.stage != store.OPEN:
        return Stepped(found, "hold", f"it is {row.stage}")
    if move.kind == "hold":
        return Stepped(found, "hold", move.reason)
    with writing(engine) as session:
        if move.kind == "finish":
            done = store.end_experiment(session, row.id, "finished", move.reason, clock)
        else:
            done = store.set_weights(
                session, row.id, move.weights, move.segments or {}, move.excluded, row.epoch, clock
            )
        if not done:
            return Stepped(found, "hold", "somebody else was faster")
        fresh = session.get_one(ExperimentRow, row.id)
        kind = store.FINISHED if move.kind == "finish" else REWEIGHTED
        add_step(session, clock, fresh, kind, move.reason, evidence_of(found.look))
        session.flush()
        table = read_routing(session)
    return Stepped(Found(fresh, found.steps, found.shown, found.look), move.kind, move.reason, table)


def evidence_of(look: Look) -> dict[str, Any]:
    """What a step keeps of the look that it was taken on: plain JSON."""
    return {
        "outcomes": look.outcomes,
        "excluded_calls": dict(look.gathered.excluded),
        "arms": [
            {
                "version": arm.version,
                "users": arm.users,
                "outcomes": arm.outcomes,
                "mean": arm.estimate.mean,
                "lower": arm.estimate.lower,
                "upper": arm.estimate.upper,
                "failure_share": arm.failure_share,
                "alpha": posterior.alpha,
                "beta": posterior.beta,
                "probability_of_best": best,
                "claim": arm.standing.claim.value if arm.standing else None,
            }
            for arm, posterior, best in zip(look.arms, look.allocation.posteriors, look.allocation.best, strict=True)
        ],
    }
