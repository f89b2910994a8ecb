"""The flow of every minute that moves experiments, on calls as the gateway leaves them, with every projection."""

import time
from typing import Any
from uuid import UUID

import pytest
import redis
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.advance_canaries import advance_canaries
from flows.advance_experiments import Experiment, advance_experiments
from flows.register_prompt import RegisterRequest, register_prompt
from gateway.clock import SystemClock
from gateway.prompts.routing_store import ROUTING_KEY
from gateway.prompts.splits import Policy, choose
from gateway.storage.engine import reading, writing
from gateway.storage.models import CallRow, ExperimentRow, ScoreRow
from gateway.types import Route, RoutingTable
from tasks.experimenting import list_open
from tasks.experiments.history import steps_of
from tasks.experiments.options import ExperimentOptions
from tasks.experiments.promotion import promote
from tasks.experiments.weights import start_experiment, stop_experiment
from tasks.releases.evidence import QUALITY
from tests.flows.conftest import World

pytestmark = pytest.mark.integration

PROMPT = "trial"
VALUE = {"resolved": 2.0, "escalation": 5.0}


def pushed(world: World) -> Route:
    """As gateways find it in the state Redis."""
    import msgspec

    with redis.Redis.from_url(world.settings.state_redis_url) as state:
        table = msgspec.json.decode(state.hget(ROUTING_KEY, "table") or b"{}", type=RoutingTable)
    (route,) = (route for route in table.routes if route.prompt == PROMPT)
    return route


def users_come(world: World, count: int, quality: dict[str, float], label: str) -> None:
    """New users, ten minutes ago, each on the arm that the published table gives them."""
    route, start = pushed(world), time.time() - 600
    with writing(world.engine) as session:
        for number in range(count):
            user = f"{label}-{number}"
            choice = choose(route, user, {})
            version = choice.arm.version.version
            routed: dict[str, Any] = {
                "experiment": route.experiment,
                "propensity": choice.propensity,
                "arm": choice.arm.name,
                "weight": choice.weight,
                "evidence": True,
            }
            at = start + number / 10
            session.add(
                CallRow(
                    id=user,
                    tenant="acme",
                    origin="live",
                    prompt=PROMPT,
                    version=version,
                    user=user,
                    started_at=at,
                    latency_ms=10.0,
                    status="ok",
                    layer="none",
                    cost_usd=0.001,
                    **routed,
                )
            )
            score = min(1.0, quality[version] + (number % 5) / 50)
            row = {"metric": QUALITY, "source": "judge", "value": score, "reason": ""}
            session.add(ScoreRow(call_id=user, tenant="acme", scored_at=at + 5, **row))


def mine(found: list[Experiment]) -> Experiment:
    (one,) = (one for one in found if one.prompt == PROMPT)
    return one


def artifacts(key: str) -> list[str]:
    """What the pages of that key show, oldest first."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return [str(one.data) for one in found if isinstance(one.id, UUID)]


def test_a_bandit_moves_its_weights_and_ends_in_production_by_its_e_process(world: World) -> None:
    world.serve(world.spec(PROMPT, value=VALUE))
    register_prompt(RegisterRequest(path=world.spec(PROMPT, version="1.1.0", value=VALUE)))
    row, _ = start_experiment(
        world.engine,
        SystemClock(),
        tenant="acme",
        prompt=PROMPT,
        policy=Policy.BANDIT,
        versions=["1.0.0", "1.1.0"],
        shares=[1, 1],
        options=ExperimentOptions(window=60, scoring_grace=10),
    )
    # The calls below are ten minutes old: the experiment must have begun before them.
    with writing(world.engine) as session:
        stored = session.get_one(ExperimentRow, row.id)
        stored.started_at -= 3_600
        steps_of(session, row.id)[0].at -= 3_600
    advance_canaries()
    assert [arm.weight for arm in pushed(world).arms] == [5_000, 5_000]
    assert mine(advance_experiments()).done == "hold"

    users_come(world, 200, {"1.0.0": 0.5, "1.1.0": 0.85}, "first")
    moved = mine(advance_experiments())
    assert (moved.done, moved.epoch) == ("reweight", 1)
    assert moved.shares == {"1.0.0": 0.05, "1.1.0": 0.95}
    assert [arm.weight for arm in pushed(world).arms] == [500, 9_500]
    assert mine(advance_experiments()).done == "hold", "the same outcomes move nothing twice"
    assert world.production(PROMPT) == "1.0.0"

    (page,) = artifacts("experiment-trial")
    assert "1.1.0" in page
    assert "better: +0.3" in page
    assert "Worth, in US dollars per 1,000 calls" in page
    (picture,) = artifacts("experiment-trial-plot")
    assert picture.startswith("data:image/png;base64,")

    done = promote(world.engine, SystemClock(), experiment_id=row.id, version="1.1.0")
    assert world.production(PROMPT) == "1.1.0"
    advance_canaries()
    assert [(arm.version.version, arm.weight) for arm in pushed(world).arms] == [("1.1.0", 10_000)]
    assert [one for one in advance_experiments() if one.prompt == PROMPT] == []
    with reading(world.engine) as session:
        kinds = [step.kind for step in steps_of(session, row.id)]
    assert kinds == ["started", "reweighted", "promoted"]
    assert done.release.stage == "promoted"


def test_one_that_cannot_be_looked_at_holds_up_no_other(world: World) -> None:
    ids = []
    for name in ("broken", "sound"):
        world.serve(world.spec(name))
        register_prompt(RegisterRequest(path=world.spec(name, version="1.1.0")))
        row, _ = start_experiment(
            world.engine,
            SystemClock(),
            tenant="acme",
            prompt=name,
            policy=Policy.AB,
            versions=["1.0.0", "1.1.0"],
            shares=[1, 1],
            options=ExperimentOptions(window=60, scoring_grace=10, max_days=1),
        )
        ids.append(row.id)
    broken, sound = ids
    with writing(world.engine) as session:
        stored = session.get_one(ExperimentRow, broken)
        stored.spec = {**stored.spec, "window": "none that anybody knows"}
        steps_of(session, sound)[0].at -= 2 * 86_400
    with pytest.raises(ValueError, match="window"):
        advance_experiments()
    with reading(world.engine) as session:
        assert session.get_one(ExperimentRow, sound).stage == "finished"
        assert steps_of(session, sound)[-1].kind == "told", "and people were told"
        assert session.get_one(ExperimentRow, broken).stage == "open"


def test_experiments_have_their_step_in_the_run_of_releases(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds up releases does not hold them up; once nothing is left to do or tell, there is no run for them."""
    for left_over in list_open.fn(world.settings):
        stop_experiment(world.engine, SystemClock(), left_over.id, "another test's")
    world.serve(world.spec("joined"))
    register_prompt(RegisterRequest(path=world.spec("joined", version="1.1.0")))
    row, _ = start_experiment(
        world.engine,
        SystemClock(),
        tenant="acme",
        prompt="joined",
        policy=Policy.AB,
        versions=["1.0.0", "1.1.0"],
        shares=[1, 1],
        options=ExperimentOptions(window=60, scoring_grace=10, max_days=1),
    )
    with writing(world.engine) as session:
        steps_of(session, row.id)[0].at -= 2 * 86_400

    def refuse(*_: object) -> None:
        raise RuntimeError("releases cannot be advanced")

    with monkeypatch.context() as broken:
        broken.setattr("flows.advance_canaries.advance_all", refuse)
        with pytest.raises(RuntimeError, match="cannot be advanced"):
            advance_canaries()
    with reading(world.engine) as session:
        assert session.get_one(ExperimentRow, row.id).stage == "finished"
        assert steps_of(session, row.id)[-1].kind == "told"

    monkeypatch.setattr("flows.advance_canaries.advance_experiments", refuse)
    advance_canaries()
