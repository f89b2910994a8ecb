"""An experiment for people and machines: rows of tables, plain JSON, a sentence of where it stands."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.prompts.splits import Policy
from tasks.experiments.look import ArmReport
from tasks.experiments.weights import Found
from tasks.statistics.claims import Comparison

BASELINE = "baseline"


def arm_rows(found: Found) -> list[dict[str, Any]]:
    """One row an arm. ``mean`` is weighted by 1 / propensity; its interval holds at every look."""
    bandit = found.shown.policy is not Policy.AB
    rows = []
    for place, arm in enumerate(found.look.arms):
        row: dict[str, Any] = {
            "version": arm.version,
            "share": f"{arm.weight / 100:g} %",
            "users": arm.users,
            "scored": arm.outcomes,
            "mean": arm.estimate.mean,
            "95 % at every look": _interval(arm.estimate.lower, arm.estimate.upper) if arm.outcomes else None,
            "failed": arm.failure_share,
        }
        if bandit:
            row["is best"] = found.look.allocation.best[place]
        row["beside the baseline"] = standing_in_words(arm)
        rows.append(row)
    return rows


def standing_in_words(arm: ArmReport) -> str:
    """baseline, better, worse, not yet, excluded."""
    if arm.standing is None:
        return BASELINE
    if arm.excluded:
        return "excluded: fails more often"
    if arm.standing.doubt:
        return f"not comparable: {arm.standing.doubt}"
    one = arm.standing.comparison
    if one.difference is None:
        return arm.standing.claim.value
    return f"{arm.standing.claim.value}: {one.difference:+.3f} ({one.lower:+.3f} to {one.upper:+.3f})"


def segment_rows(found: Found) -> list[dict[str, Any]]:
    """Weights by segment as they serve now, with the mean that each arm's posterior has there."""
    versions = found.shown.versions
    rows = []
    for name, weights in sorted(found.row.segments.items()):
        row: dict[str, Any] = {"segment": name}
        row |= {f"{version} share": f"{weight / 100:g} %" for version, weight in zip(versions, weights, strict=True)}
        if known := found.look.by_segment.get(name):
            means = zip(versions, known.posteriors, strict=True)
            row |= {f"{version} posterior": posterior.mean for version, posterior in means}
        rows.append(row)
    return rows


def headline(found: Found) -> str:
    """ "help-centre: bandit of 1.0.0 (baseline), 1.1.0; open, epoch 4; 210 outcomes"."""
    row = found.row
    first, *others = found.shown.versions
    arms = ", ".join([f"{first} (baseline)", *others])
    return f"{row.prompt}: {row.policy} of {arms}; {row.stage}, epoch {row.epoch}; {found.look.outcomes} outcomes"


def next_in_words(found: Found) -> str:
    """What the experiment waits for, or how it ended."""
    if found.row.stage != "open":
        return found.row.reason
    reason = found.look.move.reason
    compared = [arm.standing.comparison.difference for arm in found.look.arms if arm.standing is not None]
    if any(difference is not None for difference in compared):
        return reason
    options = found.shown.options
    minutes = (options.window + options.scoring_grace) / 60
    return f"{reason} (a user is compared {minutes:.3g} minutes after the first question: --window)"


def as_plain(found: Found, worth: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """For machines; shares are of 1, times seconds since the epoch."""
    row = found.row
    return {
        "id": row.id,
        "tenant": row.tenant,
        "prompt": row.prompt,
        "policy": row.policy,
        "stage": row.stage,
        "epoch": row.epoch,
        "reason": next_in_words(found),
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "outcomes": found.look.outcomes,
        "options": found.shown.options.model_dump(mode="json"),
        "arms": [_plain_arm(found, place) for place in range(len(found.look.arms))],
        "segments": {
            name: {version: weight / 10_000 for version, weight in zip(found.shown.versions, weights, strict=True)}
            for name, weights in row.segments.items()
        },
        "excluded_calls": dict(found.look.gathered.excluded),
        "business": list(worth),
    }


def _plain_arm(found: Found, place: int) -> dict[str, Any]:
    arm, posterior = found.look.arms[place], found.look.allocation.posteriors[place]
    lower, upper = posterior.interval
    standing = arm.standing
    return {
        "version": arm.version,
        "share": arm.weight / 10_000,
        "excluded": arm.excluded,
        "users": arm.users,
        "calls": arm.calls,
        "outcomes": arm.outcomes,
        "failure_share": arm.failure_share,
        "mean": {
            "self_normalised": arm.estimate.mean,
            "inverse_propensity": arm.estimate.unnormalised,
            "lower": arm.estimate.lower,
            "upper": arm.estimate.upper,
            "effective_outcomes": arm.estimate.effective,
        },
        "posterior": {
            "alpha": posterior.alpha,
            "beta": posterior.beta,
            "mean": posterior.mean,
            "lower": lower,
            "upper": upper,
            "probability_of_best": found.look.allocation.best[place],
        },
        "beside_baseline": standing
        and {
            "claim": standing.claim.value,
            "doubt": standing.doubt or None,
            **_plain_comparison(standing.comparison),
            "by_segment": {
                name: {"claim": one.claim.value, **_plain_comparison(one)} for name, one in standing.by_segment.items()
            },
            "fails_more": standing.failures.worse,
        },
    }


def _plain_comparison(one: Comparison) -> dict[str, Any]:
    return {
        "blocks": one.blocks,
        "difference": one.difference,
        "lower": one.lower,
        "upper": one.upper,
        "log_e_better": one.log_e_better,
        "log_e_worse": one.log_e_worse,
        "log_threshold": one.log_threshold,
    }


def _interval(lower: float, upper: float) -> str:
    return f"{lower:.2f}–{upper:.2f}"
