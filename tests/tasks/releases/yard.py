"""A prompt with releases in a database, for tests: versions, releases in a stage, live calls with scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.prompts.projection import read_routing
from gateway.storage.engine import reading, writing
from gateway.storage.models import CallRow, PromptVersionRow, ReleaseRow, ScoreRow
from gateway.types import ModelRef, PromptVersion, RoutingTable
from tasks.releases import reconcile, store
from tasks.releases.evidence import QUALITY
from tasks.releases.stages import Stage
from tasks.releases.store import Step

POLICY: Mapping[str, Any] = {
    "steps": [25, 50],
    "margin": 0.1,
    "window": 60,
    "scoring_grace": 10,
    "min_step": 100,
    "min_blocks": 5,
    "max_duration": 100_000,
}


@dataclass
class Yard:
    """The prompt ``help`` of the tenant ``acme``."""

    engine: Engine
    clock: ManualClock

    def register(self, *versions: str, digest: str = "", prompt: str = "help") -> None:
        for version in versions:
            store.register_version(self.engine, self.clock, version_row(version, digest=digest, prompt=prompt))

    def open(self, version: str, *, prompt: str = "help", policy: Mapping[str, Any] = POLICY) -> ReleaseRow:
        return store.open_release(
            self.engine,
            self.clock,
            tenant="acme",
            prompt=prompt,
            version=version,
            policy={"canary": dict(policy), "evidence_share_bp": 10_000},
        )

    def move(self, release: ReleaseRow, there: Stage, **more: Any) -> tuple[ReleaseRow, RoutingTable]:
        return store.transition(self.engine, self.clock, release, there, Step(there.value, "because", {}), **more)

    def promote(self, version: str, *, prompt: str = "help") -> ReleaseRow:
        self.register(version, prompt=prompt)
        return self.move(self.open(version, prompt=prompt), Stage.PROMOTED)[0]

    def canary(self, version: str = "1.1.0", policy: Mapping[str, Any] = POLICY) -> ReleaseRow:
        """A started canary beside 1.0.0."""
        self.promote("1.0.0")
        self.register(version)
        return reconcile.start_canary(self.engine, self.clock, self.open(version, policy=policy))[0]

    def advance(self, release: ReleaseRow, owner: str = "me") -> reconcile.StepReport | None:
        return reconcile.advance(self.engine, self.clock, release.id, owner)

    def release(self, release: ReleaseRow) -> ReleaseRow:
        return store.get_release(self.engine, release.id)

    def kinds(self, release: ReleaseRow) -> list[str]:
        return [step.kind for step in store.steps_of(self.engine, release.id)]

    def routing(self) -> RoutingTable | None:
        with reading(self.engine) as session:
            return read_routing(session)

    def weights(self, prompt: str = "help") -> dict[str, int]:
        """Basis points by version, as the routing table says."""
        table = self.routing()
        routes = table.routes if table else ()
        return {arm.version.version: arm.weight for route in routes if route.prompt == prompt for arm in route.arms}

    def add_calls(self, rows: Sequence[tuple[CallRow, float | None]]) -> None:
        """Calls with the judge's score, which came five seconds after the call."""
        with writing(self.engine) as session:
            session.add_all(call for call, _ in rows)
            session.add_all(
                ScoreRow(
                    call_id=call.id,
                    metric=QUALITY,
                    source="judge",
                    tenant=call.tenant,
                    value=value,
                    reason="",
                    scored_at=call.started_at + 5,
                )
                for call, value in rows
                if value is not None
            )


def version_row(version: str, *, digest: str = "", prompt: str = "help") -> PromptVersionRow:
    bundle = PromptVersion(
        tenant="acme",
        name=prompt,
        version=version,
        digest=digest or version,
        template=({"role": "user", "content": "Why?"},),
        chain=(ModelRef("openai", "small"),),
    )
    return PromptVersionRow(
        tenant="acme",
        name=prompt,
        version=version,
        digest=bundle.digest,
        bundle=msgspec.to_builtins(bundle),
        spec={},
        source="",
        author="",
        changelog="",
        mlflow_version="",
        verdict="",
        gate_run="",
    )


def live_call(release: ReleaseRow, identity: str, arm: str, at: float, **changes: Any) -> CallRow:
    """An evidence call of a user of its own, answered by the first-choice model."""
    values: dict[str, Any] = {
        "id": identity,
        "tenant": "acme",
        "origin": "live",
        "prompt": "help",
        "version": release.version if arm == "canary" else release.baseline,
        "release_id": release.id,
        "arm": arm,
        "weight": release.weight if arm == "canary" else 10_000 - release.weight,
        "evidence": True,
        "user": f"user-{identity}",
        "started_at": at,
        "latency_ms": 20.0,
        "status": "ok",
        "layer": "none",
    }
    return CallRow(**(values | changes))
