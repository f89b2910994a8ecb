"""Mirrored traffic in the ledger: live calls of users beside what the candidate answered."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from gateway.storage.engine import writing
from gateway.storage.models import CallRow, ReleaseRow
from tasks.releases import reconcile
from tasks.specs.model import CanarySpec
from tests.tasks.releases.yard import POLICY, Yard


def mirrored_policy(**mirror: Any) -> dict[str, Any]:
    """A canary's policy as a release keeps it."""
    return CanarySpec.model_validate({**POLICY, "mirror": mirror}).model_dump(mode="json")


MIRRORED: Mapping[str, Any] = mirrored_policy(calls=20, max_hours=2, judged=5)
TRY = {"provider": "openai", "model": "small", "latency_ms": 120.0, "error": ""}


def mirrored_release(yard: Yard, policy: Mapping[str, Any] = MIRRORED) -> ReleaseRow:
    """A release of 1.1.0 beside 1.0.0 whose mirror stage has begun."""
    yard.promote("1.0.0")
    yard.register("1.1.0")
    release = yard.open("1.1.0", policy=policy)
    return reconcile.start_canary(yard.engine, yard.clock, release)[0]


def pair(release: ReleaseRow, identity: str, at: float, **changes: Any) -> list[CallRow]:
    """A live call and its mirrored one; ``changes`` are of the mirrored one, with ``live_`` of the other."""
    common: dict[str, Any] = {
        "tenant": "acme",
        "prompt": "help",
        "started_at": at,
        "status": "ok",
        "layer": "none",
        "latency_ms": 120.0,
        "attempts": [TRY],
        "cost_usd": Decimal("0.001"),
        "answer": "Thirty days.",
        "question": "How long?",
        "context": "Returns: 30 days.",
    }
    live = {"id": f"live-{identity}", "origin": "live", "version": release.baseline, "user": f"user-{identity}"}
    other = {
        "id": f"mirror-{identity}",
        "origin": "mirror",
        "version": release.version,
        "release_id": release.id,
        "mirrors": f"live-{identity}",
    }
    of_live = {name.removeprefix("live_"): value for name, value in changes.items() if name.startswith("live_")}
    of_other = {name: value for name, value in changes.items() if not name.startswith("live_")}
    return [CallRow(**(common | live | of_live)), CallRow(**(common | other | of_other))]


def arrive(yard: Yard, release: ReleaseRow, count: int, *, name: str = "", **changes: Any) -> None:
    """So many pairs of users of their own, a second apart."""
    with writing(yard.engine) as session:
        for number in range(count):
            identity = f"{name or f'{yard.clock.now():.0f}'}-{number}"
            session.add_all(pair(release, identity, yard.clock.now() + number, **changes))
