"""Who gets which arm of a route. Pure: a route and a caller in, an arm and its probability out."""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import sha256

from msgspec import Struct

from gateway.types import Arm, Route

BASIS = 10_000
"""Weights are basis points of the users."""
MAX_KEYS = 3
"""Context keys that an experiment may declare."""
MAX_TRAIT = 40
"""Printable characters of a context value that can be a segment's: any other counts as not given."""


class Policy(StrEnum):
    """How an experiment splits users. ``ab`` never draws a user anew; the bandits do whenever their weights change."""

    AB = "ab"
    BANDIT = "bandit"
    CONTEXTUAL = "contextual"


POLICIES = tuple(policy.value for policy in Policy)


class Choice(Struct, frozen=True):
    """``weight``: the arm's share of those like this caller, in basis points."""

    arm: Arm
    weight: int
    segment: str = ""
    propensity: float | None = None
    """Probability of this arm, over the draws of users; None where nobody drew."""


def bucket(salt: str, candidate: str, user: str) -> int:
    """A user's place in [0, 10,000), uniform and fixed for a release: ``SHA-256(salt ‖ candidate ‖ user) mod 10⁴``.

    ``candidate`` is ``name@version``; every release draws a salt of its own unless it is given one, so that the same
    users are not the first to see every change. The parts are length-prefixed: no two different triples read alike.
    """
    return _number(salt, candidate, user) % BASIS


def choose(route: Route, user: str, traits: Mapping[str, str]) -> Choice:
    """The arm of a caller. No user: the stable arm, which nobody drew."""
    segment = segment_of(route.context_keys, traits)
    if not user or len(route.arms) < 2:
        return Choice(route.arms[0], route.arms[0].weight, segment)
    if not route.experiment:
        arm = _canary(route, user)
        return Choice(arm, arm.weight)
    weights = route.segments.get(segment) or tuple(arm.weight for arm in route.arms)
    salt = route.salt if route.policy == Policy.AB else f"{route.salt}/{route.epoch}"
    index = draw(salt, [arm.version.version for arm in route.arms], weights, user)
    return Choice(route.arms[index], weights[index], segment, weights[index] / BASIS)


def _canary(route: Route, user: str) -> Arm:
    """Within a release weights only grow, so that assignments nest: nobody goes back."""
    place = bucket(route.salt, route.arms[-1].version.ref, user)
    for arm in route.arms[1:]:
        if place < arm.weight:
            return arm
        place -= arm.weight
    return route.arms[0]


def draw(salt: str, names: Sequence[str], weights: Sequence[int], user: str) -> int:
    """Weighted rendezvous hashing: index ``i`` with probability ``wᵢ/Σw``, the one with the largest ``wᵢ/−ln uᵢ``,
    where ``uᵢ`` in (0, 1) is ``SHA-256(salt ‖ nameᵢ ‖ user)`` (Schindelhauer & Schomaker, SPAA 2005).

    Fixed for equal arguments. When a weight grows, nobody changes but into that name; when one is taken out, only its
    users change, whatever stands beside it.
    """
    best, chosen = -1.0, 0
    for index, (name, weight) in enumerate(zip(names, weights, strict=True)):
        if weight > 0:
            uniform = (_number(salt, name, user) + 0.5) / 2.0**64
            score = weight / -math.log(uniform) if uniform < 1.0 else math.inf
            if score > best:
                best, chosen = score, index
    return chosen


def segment_of(keys: Sequence[str], traits: Mapping[str, str]) -> str:
    """``plan=pro|language=de``: the declared keys in their order, whatever else the caller says; what is not given is
    empty. Different values never read alike."""
    return "|".join(f"{key}={_value(traits.get(key, ''))}" for key in keys)


def in_evidence_sample(route: Route, user: str) -> bool:
    """Whether this user's calls bypass the cache as evidence: the same share of every arm, while something is open."""
    if not (user and route.evidence_share and (route.release or route.experiment)):
        return False
    return bucket(f"{route.salt}/evidence", route.arms[-1].version.ref, user) < route.evidence_share


def _number(*parts: str) -> int:
    """64 uniform bits."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")


def _value(text: str) -> str:
    if len(text) > MAX_TRAIT or not text.isprintable():
        return ""
    return text.replace("%", "%25").replace("|", "%7C").replace("=", "%3D")
