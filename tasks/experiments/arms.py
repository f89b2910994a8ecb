"""What an experiment may look like. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gateway.errors import InvalidRequest
from gateway.prompts.splits import BASIS, MAX_KEYS, POLICIES, Policy
from gateway.types import PromptVersion

ACTIVE = "active"
EXCLUDED = "excluded"
MAX_ARMS = 10
MAX_SEGMENTS = 1_000

_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")


def checked_arms(arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Arms as the row keeps them, the baseline first. Raises InvalidRequest."""
    if not 2 <= len(arms) <= MAX_ARMS:
        raise InvalidRequest(
            f"an experiment has 2 to {MAX_ARMS} arms, not {len(arms)}",
            hint="The version in production is one of them; name each: --arm VERSION.",
        )
    versions = [str(arm["version"]) for arm in arms]
    if len(set(versions)) < len(versions):
        raise InvalidRequest("the arms of an experiment are different versions")
    weights = checked_weights("the arms", [arm["weight"] for arm in arms], len(arms))
    if 0 in weights:
        none = versions[weights.index(0)]
        raise InvalidRequest(f"{none} would get less than 0.01 % of the users", hint="Leave it out, or give it more.")
    return [
        {"version": version, "weight": weight, "state": ACTIVE}
        for version, weight in zip(versions, weights, strict=True)
    ]


def reweighted(
    arms: Sequence[Mapping[str, Any]],
    weights: Sequence[int],
    segments: Mapping[str, Sequence[int]],
    excluded: Collection[str],
) -> tuple[list[dict[str, Any]], dict[str, list[int]]]:
    """The arms and segments of a row with other weights. ``excluded``: versions. Raises InvalidRequest."""
    versions = [str(arm["version"]) for arm in arms]
    if unknown := sorted(set(excluded) - set(versions[1:])):
        raise InvalidRequest(f"no arms that could be excluded: {', '.join(unknown)}")
    if len(segments) > MAX_SEGMENTS:
        raise InvalidRequest(f"an experiment has weights for at most {MAX_SEGMENTS} segments, not {len(segments)}")
    out = [index for index, version in enumerate(versions) if version in excluded]
    checked = {name: checked_weights(name, row, len(arms)) for name, row in {"": weights, **segments}.items()}
    for name, row in checked.items():
        if any(row[index] for index in out):
            raise InvalidRequest(f"an excluded arm has weight in {name or 'the arms'}")
    fresh = [
        {"version": version, "weight": weight, "state": EXCLUDED if index in out else ACTIVE}
        for index, (version, weight) in enumerate(zip(versions, checked.pop(""), strict=True))
    ]
    return fresh, checked


def checked_weights(name: str, weights: Sequence[int], arms: int) -> list[int]:
    """Basis points that are all that there is. Raises InvalidRequest."""
    if len(weights) != arms or any(type(one) is not int or one < 0 for one in weights) or sum(weights) != BASIS:
        raise InvalidRequest(f"weights of {name} are one for each arm, whole, and {BASIS} together: not {weights}")
    return list(weights)


def checked_spec(policy: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The declared options, as far as the gateway goes by them. Raises InvalidRequest."""
    if policy not in POLICIES:
        raise InvalidRequest(f"there is no policy {policy!r}: {', '.join(POLICIES)}")
    keys = list(spec.get("context_keys", ()))
    if (policy == Policy.CONTEXTUAL) != bool(keys):
        raise InvalidRequest(
            "a contextual experiment needs keys of the callers' context, and no other takes any",
            hint="As in: --policy contextual --context plan --context language.",
        )
    if len(keys) > MAX_KEYS or len(set(keys)) < len(keys) or not all(_KEY.fullmatch(str(key)) for key in keys):
        raise InvalidRequest(
            f"context keys are up to {MAX_KEYS} different names of 1 to 40 of A-Z a-z 0-9 _ . -",
            hint="As in: --context plan --context language.",
        )
    if spec.get("fall_back") and policy != Policy.AB:
        raise InvalidRequest(
            "falling back belongs to A/B tests: a bandit learns from its failures", hint="Leave out --fall-back."
        )
    share = spec.get("evidence_share", 1.0)
    if not isinstance(share, int | float) or not 0.0 <= share <= 1.0:
        raise InvalidRequest("evidence_share lies in [0, 1]")
    return {**spec, "context_keys": keys}


def check_callers(first: PromptVersion, second: PromptVersion) -> None:
    """Raises InvalidRequest where no call can be answered by both: one needs a variable that the other refuses."""
    for one, other in ((first, second), (second, first)):
        filled = one.retrieval.into if one.retrieval else None
        known = {variable.name for variable in other.variables}
        for variable in one.variables:
            if variable.required and variable.name not in known and variable.name != filled:
                raise InvalidRequest(
                    f"{one.version} needs the variable {variable.name!r}, which {other.version} does not know:"
                    " the same callers cannot ask both",
                    hint=f"Make it optional, or let {other.version} declare it as well.",
                )
