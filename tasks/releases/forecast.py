"""How long a canary will take, before it starts: the plan of a release played through with users not yet there.

Users arrive at random; blocks, steps and e-processes are those that will decide. A user enters one block at most, so
what counts is how many *different* users come. Pure and reproducible.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tasks.releases.evidence import FAILURE, QUALITY
from tasks.releases.plan import block_plan, may_grow, statistics_policy, weight_of
from tasks.specs.model import CanarySpec
from tasks.statistics.blocks import Block, UserEvidence, form_blocks
from tasks.statistics.eprocess import Direction, EProcess, FloatArray, boundary_mean, log_e_paths, log_threshold
from tasks.statistics.guardrails import Guardrail
from tasks.statistics.power import draw_users

DAY = 86_400.0
TIMELINES = 4
FUTURES = 50
"""Outcomes drawn for each timeline."""
MOST_BLOCKS = 1_500
# Above it, windows and steps take the time and not the users: what is simulated then is the same.
_MOST_USERS_A_DAY = 40_000.0
_LOOKS = 400
_LONG_DAYS = 7.0


@dataclass(frozen=True)
class Audience:
    """Who asks: different users a day, and the stable version's per-user means. ``quality_sd`` None: right or wrong.

    ``since_hours``: how long the ledger was looked at for it; 0 when nobody has asked yet and all of it is a guess.
    """

    users_a_day: float
    quality_mean: float = 0.8
    quality_sd: float | None = 0.2
    failures: float = 0.01
    since_hours: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """When a version that is equal to the stable one will be promoted; None: not within the longest duration.

    ``canary_users`` come until then (median); ``alternatives`` are other ways, in words, with their median days.
    """

    users_a_day: float
    days: float | None
    days_p90: float | None
    canary_users: int | None
    longest_days: float
    margin: float
    alternatives: tuple[tuple[str, float], ...] = ()

    def in_words(self) -> str:
        """ "at 40 users a day an equal version is promoted after about 9 days (14 for 9 of 10 releases) ..."."""
        rate = f"at {_rounded(self.users_a_day)} users a day"
        if self.users_a_day <= 0:
            return "nobody has asked yet, so nobody can say how long the canary will take"
        if self.days is None:
            text = f"{rate} the canary will hardly be decided within its {self.longest_days:g} days"
        else:
            tail = f"{_time(self.days_p90)}" if self.days_p90 is not None else f"more than {_time(self.longest_days)}"
            users = f"{self.canary_users} canary users" if self.canary_users is not None else "the canary users"
            text = f"{rate} an equal version is promoted after about {_time(self.days)}, {users} (9 of 10: {tail})"
        if self.alternatives:
            text += "; " + ", ".join(f"{what}: {_time(days)}" for what, days in self.alternatives)
        elif self.days is None:
            text += "; relax canary.margin, let canary.steps go to 50 or give it more days"
        return text


@dataclass(frozen=True)
class Timeline:
    """Blocks as they will be formed, whatever their outcomes: when (days from the start), and with which k.

    ``canary_users``: how many had come by then.
    """

    days: FloatArray
    k: tuple[int, ...]
    canary_users: tuple[int, ...]


def forecast(canary: CanarySpec, audience: Audience, *, seed: int = 0) -> Forecast:
    """What to expect of a version that is as good as the stable one, with other ways when it takes long."""
    first = _play(canary, audience, seed)
    if audience.users_a_day <= 0 or (first.days is not None and first.days <= _LONG_DAYS):
        return first
    ways: list[tuple[str, CanarySpec, Audience]] = []
    relaxed = round(min(0.5, 2 * canary.margin), 3)
    if relaxed > canary.margin:
        ways.append((f"with a margin of {relaxed:g}", canary.model_copy(update={"margin": relaxed}), audience))
    if audience.quality_sd is None:
        ways.append(("with graded scores", canary, replace(audience, quality_sd=0.2)))
    if canary.steps[-1] < 50.0:
        ways.append(("with steps up to 50 %", canary.model_copy(update={"steps": (*canary.steps, 50.0)}), audience))
    played = [(what, _play(spec, people, seed).days) for what, spec, people in ways]
    shorter = [(what, days) for what, days in played if days is not None and days < 0.9 * (first.days or math.inf)]
    return replace(first, alternatives=tuple(shorter))


def _play(canary: CanarySpec, audience: Audience, seed: int) -> Forecast:
    longest = canary.max_duration / DAY
    days: list[float] = []
    users: list[float] = []
    if audience.users_a_day > 0:
        rng = np.random.default_rng(seed)
        for _ in range(TIMELINES):
            line = timeline(canary, audience.users_a_day, rng)
            decided = _promoted_at(canary, audience, line, rng)
            days += [float(line.days[at]) if at is not None else math.inf for at in decided]
            users += [float(line.canary_users[at]) if at is not None else math.inf for at in decided]

    def quantile(values: Sequence[float], share: float) -> float | None:
        found = float(np.quantile(values, share, method="inverted_cdf")) if values else math.inf
        return found if math.isfinite(found) else None

    median_users = quantile(users, 0.5)
    return Forecast(
        users_a_day=audience.users_a_day,
        days=quantile(days, 0.5),
        days_p90=quantile(days, 0.9),
        canary_users=None if median_users is None else int(median_users),
        longest_days=longest,
        margin=canary.margin,
    )


def timeline(canary: CanarySpec, users_a_day: float, rng: np.random.Generator) -> Timeline:
    """One release's arrivals through its steps: until the longest duration, or more blocks than any decision takes."""
    a_day = min(users_a_day, _MOST_USERS_A_DAY) * canary.evidence_share
    window = canary.window + canary.scoring_grace
    expected = min(canary.max_duration, MOST_BLOCKS / (a_day / DAY * canary.steps[-1] / 100))
    every = max(60.0, expected / _LOOKS)
    reach = canary.concurrency + window + every
    step, since, now, in_step, come = 0, 0.0, 0.0, 0, 0
    waiting: list[UserEvidence] = []
    used: dict[str, float] = {}
    days: list[float] = []
    ks: list[int] = []
    users: list[int] = []
    while now < canary.max_duration and len(days) < MOST_BLOCKS:
        share = weight_of(canary, step) / 10_000
        arrived = np.sort(rng.uniform(now, now + every, rng.poisson(a_day / DAY * every)))
        on_canary = rng.random(arrived.size) < share
        waiting += [
            UserEvidence(f"{at!r}", "canary" if chosen else "stable", at)
            for at, chosen in zip(arrived.tolist(), on_canary.tolist(), strict=True)
        ]
        come += int(on_canary.sum())
        now += every
        plan = block_plan(canary, weight_of(canary, step))
        # Only who can still meet somebody: whoever came before that is left behind by form_blocks, too.
        waiting = [one for one in waiting if one.user not in used and one.first_call_at > now - window - reach]
        blocks: tuple[Block, ...] = form_blocks(waiting, plan, now=now).blocks
        for block in blocks:
            used |= {one.user: one.first_call_at for one in (block.canary, *block.stable)}
        days += [now / DAY] * len(blocks)
        ks += [len(block.stable) for block in blocks]
        users += [come] * len(blocks)
        in_step += len(blocks)
        if may_grow(canary, step=step, in_step_for=now - since, blocks_in_step=in_step):
            step, since, in_step = step + 1, now, 0
    return Timeline(np.array(days), tuple(ks), tuple(users))


def _promoted_at(canary: CanarySpec, audience: Audience, line: Timeline, rng: np.random.Generator) -> list[int | None]:
    """The block after which every guardrail is met, for each of the drawn futures."""
    if not line.k:
        return [None] * FUTURES
    latest = np.zeros(FUTURES, dtype=np.int64)
    for rail in statistics_policy(canary).guardrails:
        paths = log_e_paths(
            _block_values(rail, audience, line.k, rng), EProcess(Direction.BETTER, boundary_mean(-rail.margin))
        )
        met = paths >= log_threshold(canary.alpha)
        latest = np.maximum(latest, np.where(met.any(axis=1), met.argmax(axis=1), len(line.k)))
    return [int(at) if at < len(line.k) else None for at in latest]


def _block_values(rail: Guardrail, audience: Audience, ks: Sequence[int], rng: np.random.Generator) -> FloatArray:
    """Shape (futures, blocks): equal arms, each block with its own k."""
    mean, sd = rail.expected_mean, rail.expected_sd
    if rail.metric == QUALITY:
        mean, sd = audience.quality_mean, audience.quality_sd
    elif rail.metric == FAILURE:
        mean = audience.failures
    upwards = rail.upwards(mean)
    most = max(ks)
    canary = draw_users(rng, upwards, sd, (FUTURES, len(ks)))
    stable = draw_users(rng, upwards, sd, (FUTURES, len(ks), most))
    there = np.arange(most) < np.array(ks)[:, None]
    means = (stable * there).sum(axis=-1) / there.sum(axis=-1)
    values: FloatArray = np.clip((canary - means + 1.0) / 2.0, 0.0, 1.0)
    return values


def _time(days: float | None) -> str:
    if days is None:
        return "longer"
    if days * 24 < 1.5:
        return f"{max(1, round(days * 24 * 60)):d} minutes"
    return f"{days * 24:.0f} hours" if days < 2 else f"{days:.0f} days"


def _rounded(users: float) -> str:
    return f"{users:,.0f}" if users >= 10 else f"{users:.1f}".removesuffix(".0")
