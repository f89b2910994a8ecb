"""Simulated releases: users of both arms in the order in which they come, and what the canary's own code decides.

Four guardrails: a score, failures, answers slower than the frozen limit, answers dearer than the frozen limit. One user
comes a second; 15 % see the canary, so that each finds four concurrent stable users.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.statistics.blocks import BlockPlan, UserEvidence, form_blocks
from tasks.statistics.canary import CanaryOutcome, CanaryPolicy, RunningCanary
from tasks.statistics.guardrails import Guardrail
from tasks.statistics.power import draw_users
from tasks.statistics.sample_ratio import StepArrivals, check_sample_ratio

ALPHA = 0.05
MARGIN = 0.05
K = 4
SHARE = 0.15
WINDOW = 60.0
CONCURRENCY = 600.0
SCORE, FAILED, SLOW, DEAR = "score", "failed", "slow", "dear"
PLAN = BlockPlan(window=WINDOW, k=K, concurrency=CONCURRENCY)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """Per-user means of both arms: Beta with this mean and spread; ``sd`` None: right or wrong, one call a user.

    ``calls``: so many of each user, correlated: the user's own mean is drawn first, then each call's score from
    {0, ¼, … 1} (failures from {0, 1}) around it.
    """

    stable: float
    canary: float
    sd: float | None = None
    calls: int = 1
    levels: int = 4

    def draw(self, rng: np.random.Generator, on_canary: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """(means by user, shape (users,); calls, shape (users, calls))."""
        size = (on_canary.size,)
        means = np.where(
            on_canary, draw_users(rng, self.canary, self.sd, size), draw_users(rng, self.stable, self.sd, size)
        )
        if self.calls == 1:
            return means, means[:, None]
        calls: Floats = rng.binomial(self.levels, means[:, None], (means.size, self.calls)) / self.levels
        return calls.mean(axis=1), calls


@dataclass(frozen=True)
class World:
    """``users`` come to each release, both arms together."""

    score: Metric
    failed: Metric = Metric(0.01, 0.01)
    slow: Metric = Metric(0.05, 0.05)
    dear: Metric = Metric(0.05, 0.05)
    users: int = 4_000

    def metrics(self) -> Mapping[str, Metric]:
        return {SCORE: self.score, FAILED: self.failed, SLOW: self.slow, DEAR: self.dear}


@dataclass(frozen=True)
class Users:
    """Users of one release in order. ``score_calls``: the score of each of their calls, shape (users, calls)."""

    evidence: list[UserEvidence]
    on_canary: NDArray[np.bool_]
    score_calls: Floats


@dataclass(frozen=True)
class Ended:
    """How a release ended; ``canary_users`` had been seen by then, those outside of blocks too."""

    outcome: CanaryOutcome
    canary_users: int
    decided_by: tuple[str, ...] = field(default=())


def policy(*, margin: float = MARGIN, tolerance: float = 0.0, min_duration: float = 0.0) -> CanaryPolicy:
    """K = 4 guardrails at α = 0.05; the releases here are too short to run out of time."""
    rails = [Guardrail(SCORE, margin=margin, tolerance=tolerance)]
    rails += [
        Guardrail(name, margin=margin, tolerance=tolerance, lower_is_better=True) for name in (FAILED, SLOW, DEAR)
    ]
    return CanaryPolicy(tuple(rails), alpha=ALPHA, min_duration=min_duration, max_duration=1e12)


def arrive(world: World, rng: np.random.Generator) -> Users:
    """Everybody who comes while a release is open."""
    on_canary = rng.random(world.users) < SHARE
    drawn = {name: metric.draw(rng, on_canary) for name, metric in world.metrics().items()}
    columns = [values.tolist() for values, _ in drawn.values()]
    evidence = [
        UserEvidence(f"u{number}", "canary" if canary else "stable", float(number), dict(zip(drawn, row, strict=True)))
        for number, (canary, row) in enumerate(zip(on_canary.tolist(), zip(*columns, strict=True), strict=True))
    ]
    return Users(evidence, on_canary, drawn[SCORE][1])


def looked_at_after_every_user(users: Users, how: CanaryPolicy) -> Ended:
    """The release as it would go if each user whose window closes were followed by a look.

    Between two blocks nothing but the split of the users can change, so that only that is looked at there.
    """
    blocks = form_blocks(users.evidence, PLAN, now=len(users.evidence) + WINDOW).blocks
    complete = [max(user.first_call_at for user in (block.canary, *block.stable)) for block in blocks]
    come = np.cumsum(users.on_canary).tolist()
    canary, formed = RunningCanary(how), 0
    for number, user in enumerate(users.evidence):
        there = min(len(users.evidence), int(user.first_call_at + WINDOW) + 1)
        arrivals = [StepArrivals(there - come[there - 1], come[there - 1], SHARE)]
        new = formed
        while new < len(blocks) and complete[new] <= user.first_call_at:
            new += 1
        if new == formed and not check_sample_ratio(arrivals, how.alpha_sample_ratio).mismatch:
            continue
        canary.add(blocks[formed:new])
        formed = new
        said = canary.decide(started_at=0.0, now=user.first_call_at + WINDOW, arrivals=arrivals)
        if said.outcome is not CanaryOutcome.HOLD:
            return Ended(said.outcome, come[number], tuple(one.metric for one in said.guardrails if one.worse))
    return Ended(CanaryOutcome.HOLD, come[-1])


def looked_at_once(users: Users, how: CanaryPolicy) -> Ended:
    """One look at the end. The highest E decides, so it finds what any look in between would have found."""
    blocks = form_blocks(users.evidence, PLAN, now=len(users.evidence) + WINDOW).blocks
    canary = RunningCanary(how)
    canary.add(blocks)
    said = canary.decide(started_at=0.0, now=len(users.evidence) + WINDOW)
    return Ended(said.outcome, int(users.on_canary.sum()), tuple(one.metric for one in said.guardrails if one.worse))


def naive_alarms(values: Floats, on_canary: NDArray[np.bool_], *, first: int = 10, z: float = 1.959964) -> int | None:
    """What a t-test after every user says (Welch, two-sided 5 %, from ``first`` values an arm on): the user at whom it
    first calls the canary worse, None if never. ``values``: shape (users,) or (users, calls), each call as if it were
    another user.
    """
    flat = values.reshape(values.shape[0], -1)
    sums, squares, counts = flat.sum(axis=1), (flat**2).sum(axis=1), np.full(flat.shape[0], float(flat.shape[1]))
    arm = {}
    for name, here in (("canary", on_canary), ("stable", ~on_canary)):
        n = np.cumsum(counts * here)
        mean = np.cumsum(sums * here) / np.maximum(n, 1)
        variance = np.maximum(np.cumsum(squares * here) - n * mean**2, 0.0) / np.maximum(n - 1, 1)
        arm[name] = n, mean, variance
    (n_t, mean_t, var_t), (n_c, mean_c, var_c) = arm["canary"], arm["stable"]
    error = np.sqrt(var_t / np.maximum(n_t, 1) + var_c / np.maximum(n_c, 1))
    alarmed = (n_t >= first) & (n_c >= first) & (mean_t - mean_c < -z * error)
    return int(alarmed.argmax()) if alarmed.any() else None
