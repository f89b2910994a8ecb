"""Synthetic users of an experiment, routed by the gateway's own split from the table that is published."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.clock import ManualClock
from gateway.prompts.projection import read_routing
from gateway.prompts.splits import Policy, choose
from gateway.storage.engine import reading
from gateway.storage.models import CallRow, ExperimentRow
from gateway.types import Route
from tasks.experiments.options import ExperimentOptions
from tasks.experiments.weights import Stepped, advance, start_experiment
from tests.tasks.releases.yard import Yard

Quality = Callable[[str, str], float]
"""Mean score by version and segment."""


@dataclass
class Trial:
    """An experiment over versions of ``help``, the first of them in production, and users who come to it."""

    yard: Yard
    policy: Policy
    versions: Sequence[str]
    shares: Sequence[float] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 5

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.asked = 0
        self.yard.promote(self.versions[0])
        self.yard.register(*self.versions[1:])
        declared = {"window": 60.0, "scoring_grace": 10.0} | dict(self.options)
        self.row, _ = start_experiment(
            self.yard.engine,
            self.yard.clock,
            tenant="acme",
            prompt="help",
            policy=self.policy,
            versions=self.versions,
            shares=self.shares or [1.0] * len(self.versions),
            options=ExperimentOptions.model_validate(declared),
        )

    @property
    def clock(self) -> ManualClock:
        return self.yard.clock

    def route(self) -> Route:
        with reading(self.yard.engine) as session:
            table = read_routing(session)
        assert table is not None
        (route,) = table.routes
        return route

    def stored(self) -> ExperimentRow:
        with reading(self.yard.engine) as session:
            return session.get_one(ExperimentRow, self.row.id)

    def weights(self) -> list[int]:
        return [arm["weight"] for arm in self.stored().arms]

    def arrive(
        self,
        users: int,
        quality: Quality,
        *,
        traits: Sequence[Mapping[str, str]] = ({},),
        scored: float = 1.0,
        failing: Mapping[str, float] | None = None,
        **changes: Any,
    ) -> None:
        """New users ask once each within 20 seconds; ``scored`` of the answers get a score around their mean."""
        route, start = self.route(), self.clock.now()
        rows: list[tuple[CallRow, float | None]] = []
        for number in range(users):
            self.asked += 1
            user = f"user-{self.asked}"
            choice = choose(route, user, self.dice.choice(traits))
            version = choice.arm.version.version
            failed = self.dice.random() < (failing or {}).get(version, 0.0)
            outcome = min(1.0, max(0.0, self.dice.gauss(quality(version, choice.segment), 0.1)))
            values: dict[str, Any] = {
                "id": f"{self.row.id[-6:]}-{self.asked}",
                "tenant": "acme",
                "origin": "live",
                "prompt": "help",
                "version": version,
                "arm": choice.arm.name,
                "weight": choice.weight,
                "evidence": True,
                "user": user,
                "started_at": start + 20 * number / users,
                "latency_ms": 20.0,
                "status": "failed" if failed else "ok",
                "error": "provider_rejected_request" if failed else "",
                "layer": "none",
                "experiment": route.experiment,
                "segment": choice.segment,
                "propensity": choice.propensity,
            }
            score = None if failed or self.dice.random() >= scored else outcome
            rows.append((CallRow(**(values | changes)), score))
        self.yard.add_calls(rows)

    def play(self, rounds: int, users: int, quality: Quality, **more: Any) -> list[Stepped]:
        """Users come, their windows close, one step; again, until it has ended or the rounds are over."""
        steps: list[Stepped] = []
        for _ in range(rounds):
            self.arrive(users, quality, **more)
            self.clock.advance(120)
            steps.append(advance(self.yard.engine, self.clock, self.row.id))
            if self.stored().stage != "open":
                break
        return steps


def by_version(means: Mapping[str, float]) -> Quality:
    return lambda version, _segment: means[version]
