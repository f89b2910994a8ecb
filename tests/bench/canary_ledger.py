"""Releases from rows as the ledger holds them: evidence, blocks, decision and steps, looked at once a minute.

Each user makes one to three calls within the window; some come from the cache or a fallback, some are never scored.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from gateway.ledger.queries import ReleaseCall
from gateway.types import CANARY, STABLE
from tasks.releases.evidence import QUALITY
from tasks.releases.look import Look, Shown, look_at
from tasks.releases.plan import weight_of
from tasks.releases.stages import Stage
from tasks.specs.model import CanarySpec
from tasks.statistics.blocks import Block
from tasks.statistics.power import draw_users
from tests.bench.canary_worlds import ALPHA, Floats
from tests.bench.promises import Promise
from tests.bench.semantic_serving import Rate

RELEASES = 50
USERS_A_MINUTE = 20.0
_MINUTE = 60.0
_SEED = 77
_CACHED, _FELL_BACK, _UNSCORED = 0.1, 0.02, 0.05


@dataclass(frozen=True)
class Quality:
    """Mean score by arm, spread 0.2 between users; failures of the prompt's own by arm.

    After ``dip_after`` seconds all answers score ``dip`` less, on either arm: a model got worse, not the prompt.
    """

    stable: float = 0.8
    canary: float = 0.8
    failed_stable: float = 0.01
    failed_canary: float = 0.01
    dip: float = 0.0
    dip_after: float = 2_700.0


@dataclass(frozen=True)
class Ended:
    """``hours`` until the end; ``canary_users`` with evidence by then; ``moved``: users seen on stable after canary."""

    stage: Stage
    hours: float
    canary_users: int
    blocks: int
    moved: int


def through_the_ledger(console: Console) -> tuple[dict[str, Any], list[Promise]]:
    """50 releases of each kind with the plan that a prompt.yaml has by default."""
    kinds = {
        "equal": Quality(),
        "equal, both worse after 45 minutes": Quality(dip=0.2),
        "scores 0.80 → 0.65": Quality(canary=0.65),
        "failures 1 % → 20 %": Quality(failed_canary=0.2),
    }
    found = {
        name: [release(quality, CanarySpec(), np.random.default_rng(_SEED + number)) for number in range(RELEASES)]
        for name, quality in kinds.items()
    }
    table = Table(title=f"{RELEASES} releases each from ledger rows, {USERS_A_MINUTE:g} users a minute")
    for column in ("kind", "ended", "canary users: median", "90 %", "hours: median"):
        table.add_column(column, justify="left" if column in ("kind", "ended") else "right")
    for name, ended in found.items():
        users, hours = [one.canary_users for one in ended], [one.hours for one in ended]
        how = ", ".join(f"{count} {stage}" for stage, count in Counter(one.stage for one in ended).most_common())
        table.add_row(
            name, how, *(f"{np.quantile(users, at):.0f}" for at in (0.5, 0.9)), f"{float(np.median(hours)):.1f}"
        )
    console.print(table)
    figures = {
        name: {
            "ended": dict(Counter(one.stage.value for one in ended)),
            "canary users": [one.canary_users for one in ended],
            "hours": [one.hours for one in ended],
        }
        for name, ended in found.items()
    }
    return figures, _promises(found)


def release(
    quality: Quality,
    policy: CanarySpec,
    rng: np.random.Generator,
    *,
    users_a_minute: float = USERS_A_MINUTE,
    every: float = _MINUTE,
    longest: float = 86_400.0,
    simple: bool = False,
) -> Ended:
    """One release, looked at ``every`` so many seconds until it is closed, or ``longest`` seconds have passed.

    ``simple``: one call a user whose score is the user's mean; the evidence sample of the plan is drawn.
    """
    calls: list[ReleaseCall] = []
    users: dict[int, tuple[float, dict[str, float]]] = {}
    formed: list[Block] = []
    formed_at: list[float] = []
    step, since, now = 0, 0.0, 0.0
    seen: Look | None = None
    pending: list[tuple[float, int]] = []
    while now < longest:
        weight = weight_of(policy, step)
        pending += _come(rng, users, now, users_a_minute * every / 60.0, every, quality, calls=1 if simple else 3)
        ready = sorted(one for one in pending if one[0] < now + every)
        pending = [one for one in pending if one[0] >= now + every]
        for when, user in ready:
            calls.append(_call(rng, len(calls), when, user, users[user], weight, policy.evidence_share, simple=simple))
        now += every
        shown = Shown(calls, tuple(formed), tuple(formed_at), weight, step, since, 0.0, now)
        seen = look_at(shown, policy)
        formed = list(seen.blocks.blocks)
        formed_at += [now] * len(seen.fresh)
        if seen.move.stage is not Stage.CANARY:
            return _ended(seen.move.stage, now, seen, calls)
        if seen.move.step != step:
            step, since = seen.move.step, now
    return _ended(Stage.CANARY, now, seen, calls)


def _come(
    rng: np.random.Generator,
    users: dict[int, tuple[float, dict[str, float]]],
    now: float,
    expected: float,
    seconds: float,
    quality: Quality,
    calls: int,
) -> list[tuple[float, int]]:
    """New users with their place on the wheel and how well each arm answers them; their calls, (time, user)."""
    found = []
    for _ in range(int(rng.poisson(expected))):
        number = len(users)
        means = {
            arm: float(draw_users(rng, mean - (quality.dip if now >= quality.dip_after else 0.0), 0.2, (1,))[0])
            for arm, mean in ((STABLE, quality.stable), (CANARY, quality.canary))
        }
        means |= {f"{STABLE} failed": quality.failed_stable, f"{CANARY} failed": quality.failed_canary}
        users[number] = float(rng.random()), means
        first = now + float(rng.random()) * seconds
        times: Floats = first + np.concatenate([[0.0], rng.random(int(rng.integers(0, calls))) * 600.0])
        found += [(float(at), number) for at in times]
    return found


def _call(
    rng: np.random.Generator,
    number: int,
    at: float,
    user: int,
    traits: tuple[float, dict[str, float]],
    weight: int,
    evidence_share: float,
    *,
    simple: bool,
) -> ReleaseCall:
    place, means = traits
    arm = CANARY if place * 10_000 < weight else STABLE
    failed = bool(rng.random() < means[f"{arm} failed"])
    if simple:
        cached, fell_back, scored, score = False, False, not failed, means[arm]
    else:
        cached, fell_back = bool(rng.random() < _CACHED), bool(rng.random() < _FELL_BACK)
        scored = not failed and bool(rng.random() >= _UNSCORED)
        score = float(rng.binomial(4, means[arm])) / 4
    return ReleaseCall(
        id=f"call-{number:06}",
        user=f"user-{user}",
        arm=arm,
        version="1.1.0" if arm == CANARY else "1.0.0",
        weight=weight if arm == CANARY else 10_000 - weight,
        started_at=at,
        latency_ms=200.0,
        status="failed" if failed else "ok",
        error="provider_rejected_request" if failed else "",
        layer="exact" if cached else "none",
        fell_back=fell_back,
        evidence=user * 0.6180339887498949 % 1.0 < evidence_share,
        cost_usd=None,
        scores={QUALITY: score} if scored else {},
        scored_at={QUALITY: at + 30.0} if scored else {},
    )


def _ended(stage: Stage, now: float, seen: Look | None, calls: list[ReleaseCall]) -> Ended:
    assert seen is not None
    on_canary: set[str] = set()
    back: set[str] = set()
    for call in calls:
        if call.arm == CANARY:
            on_canary.add(call.user)
        elif call.user in on_canary:
            back.add(call.user)
    users = seen.gathered.by_arm.get(CANARY, 0)
    return Ended(stage, now / 3600.0, users, len(seen.blocks.blocks), len(back))


def _promises(found: dict[str, list[Ended]]) -> list[Promise]:
    def share(name: str, stage: Stage) -> Rate:
        return Rate(sum(one.stage is stage for one in found[name]), len(found[name]))

    # 50 releases at α may give more by chance: the asked bound lies within the interval or above it.
    promises = []
    for name in list(found)[:2]:
        back = share(name, Stage.ROLLED_BACK)
        held = back.interval[0] <= ALPHA
        promises += [
            Promise(f"from ledger rows: {name}, rolled back", f"≤ {ALPHA:.0%}", str(back), held),
            Promise(f"from ledger rows: {name}, promoted", "–", str(share(name, Stage.PROMOTED))),
        ]
    for name in list(found)[2:]:
        up = share(name, Stage.PROMOTED)
        promises.append(
            Promise(f"from ledger rows: {name}, promoted", f"≤ {ALPHA:.0%}", str(up), up.interval[0] <= ALPHA)
        )
    moved = sum(one.moved for ended in found.values() for one in ended)
    promises.append(Promise("from ledger rows: users who go back to the stable arm", "0", str(moved), moved == 0))
    return promises
