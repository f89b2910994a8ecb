"""The two flows of every minute, on calls as the gateway leaves them: scores, a verdict, and every projection."""

import json
import time
from typing import Any

import pytest
import redis
from prefect.artifacts import Artifact

from flows.advance_canaries import advance_canaries
from flows.score_calls import score_calls
from flows.warm_cache import WarmRequest, warm_cache
from gateway.clock import SystemClock
from gateway.prompts.routing_store import ROUTING_KEY
from gateway.storage.engine import reading, writing
from gateway.storage.models import CallRow, ReleaseRow, ScoreRow
from tasks.releases import store
from tasks.releases.evidence import QUALITY
from tasks.releases.owed import Owed, owing
from tasks.releases.sealing import PATIENCE
from tasks.releases.stages import Stage
from tasks.releases.store import Step
from tests.flows.conftest import World

pytestmark = pytest.mark.integration

GROUNDS = "[doc:plans-and-prices] Plans\nThe Solo plan costs €9 per month and covers up to 3 sensors."


def call(identity: str, **changes: Any) -> CallRow:
    values: dict[str, Any] = {
        "id": identity,
        "tenant": "acme",
        "origin": "live",
        "prompt": "ramp",
        "version": "1.0.0",
        "user": f"user-{identity}",
        "started_at": time.time() - 600,
        "latency_ms": 10.0,
        "status": "ok",
        "layer": "none",
        "question": "How much does the Solo plan cost per month?",
        "variables": {"question": "How much does the Solo plan cost per month?"},
        "answer": "The Solo plan costs €9 per month.",
        "context": GROUNDS,
    }
    return CallRow(**(values | changes))


def pushed(world: World) -> dict[str, Any]:
    """The routing table as gateways find it in the state Redis."""
    with redis.Redis.from_url(world.settings.state_redis_url) as state:
        table: dict[str, Any] = json.loads(state.hget(ROUTING_KEY, "table") or b"{}")
    (route,) = (route for route in table["routes"] if route["prompt"] == "ramp")
    return {arm["version"]["version"]: arm["weight"] for arm in route["arms"]}


def alias(name: str) -> str:
    """The MLflow version that has the alias, empty if none has."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        return str(mlflow.MlflowClient().get_prompt_version_by_alias("acme.ramp", name).version)
    except MlflowException:
        return ""


def test_a_canary_that_does_harm_is_rolled_back_everywhere(world: World) -> None:
    world.serve(world.spec("ramp"))
    release = world.release(world.spec("ramp", version="1.1.0"))
    assert (release.stage, release.weight_percent, release.baseline) == ("canary", 50.0, "1.0.0")
    assert pushed(world) == {"1.0.0": 5_000, "1.1.0": 5_000}
    assert (alias("production"), alias("canary")) == ("1", "2")

    (held,) = advance_canaries()
    assert (held.stage, world.production("ramp")) == ("canary", "1.0.0"), "no evidence, no verdict"

    start = time.time() - 600
    with writing(world.engine) as session:
        for number in range(160):
            arm = "canary" if number % 2 else "stable"
            identity = f"c{number}"
            routed = {"release_id": release.id, "arm": arm, "weight": 5_000, "evidence": True}
            version = "1.1.0" if arm == "canary" else "1.0.0"
            session.add(call(identity, started_at=start + number / 10, version=version, **routed))
            score = {"metric": QUALITY, "source": "judge", "value": 0.1 if arm == "canary" else 0.95, "reason": ""}
            session.add(ScoreRow(call_id=identity, tenant="acme", scored_at=start + 20, **score))
    (ended,) = advance_canaries()
    assert (ended.stage, ended.weight_percent) == ("rolled_back", 0.0)
    assert (world.production("ramp"), pushed(world)) == ("1.0.0", {"1.0.0": 10_000})
    assert (alias("production"), alias("canary")) == ("1", "")
    assert [step.kind for step in store.steps_of(world.engine, release.id)][-2:] == ["rolled_back", "settled"]
    assert advance_canaries() == []

    import mlflow

    run = mlflow.get_run(store.get_release(world.engine, release.id).mlflow_run)
    assert (run.info.status, run.data.metrics["weight_percent"]) == ("FINISHED", 0.0)
    assert run.data.metrics["quality_canary_mean"] == pytest.approx(0.1)
    pictures = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id, "pictures")}
    assert pictures == {"pictures/evidence-by-user.svg", "pictures/share-of-the-users.svg"}
    assert "data:image/svg+xml;base64," in str(Artifact.get("evidence-ramp"))

    with writing(world.engine) as session:
        row = session.get_one(ReleaseRow, release.id)
        row.closed_at = time.time() - PATIENCE - 1
    advance_canaries()
    record = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/certificate.json")
    assert (record["release"]["id"], record["evidence"]["sealed"]) == (release.id, True)
    assert "rolled back" in mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/certificate.html")


def test_a_promotion_whose_run_died_is_warmed_by_the_next(world: World) -> None:
    world.serve(world.spec("ramp"))
    release = world.release(world.spec("ramp", version="1.2.0"))
    died = Step("promoted", "the run died after this", owing(Owed.WARM))
    store.transition(world.engine, SystemClock(), store.get_release(world.engine, release.id), Stage.PROMOTED, died)
    assert advance_canaries() == []
    settled = store.steps_of(world.engine, release.id)[-1]
    assert (settled.kind, settled.reason) == ("settled", "warmed")
    store.roll_back(world.engine, SystemClock(), tenant="acme", prompt="ramp")


def test_new_answers_are_judged_once_against_what_grounded_them(world: World) -> None:
    world.serve(world.spec("ramp"))
    with writing(world.engine) as session:
        session.add(call("right"))
        session.add(call("wrong", answer="The Solo plan costs €500 per month."))
        session.add(call("cached", layer="exact"))
        session.add(call("failed", status="failed"))
    scored = score_calls()
    assert [(one.prompt, one.version, one.calls, one.not_judged) for one in scored] == [("ramp", "1.0.0", 2, 0)]
    with reading(world.engine) as session:
        rows = session.query(ScoreRow).filter(ScoreRow.call_id.in_(["right", "wrong", "cached", "failed"])).all()
    values = {row.call_id: row.value for row in rows if row.metric == QUALITY}
    assert set(values) == {"right", "wrong"}
    assert values["right"] > values["wrong"]
    assert score_calls() == []


def test_the_scores_of_both_arms_appear_together(world: World) -> None:
    """A release's deadline that falls into a pass finds both arms' scores or neither's."""
    world.serve(world.spec("ramp"))
    release = world.release(world.spec("ramp", version="1.3.0"))
    with writing(world.engine) as session:
        session.add_all([call("of-stable"), call("of-canary", version="1.3.0")])
    scored = score_calls()
    assert sorted((one.version, one.calls) for one in scored if one.prompt == "ramp") == [("1.0.0", 1), ("1.3.0", 1)]
    with reading(world.engine) as session:
        rows = session.query(ScoreRow).filter(ScoreRow.call_id.in_(["of-stable", "of-canary"])).all()
    assert {row.call_id for row in rows} == {"of-stable", "of-canary"}
    assert len({row.scored_at for row in rows}) == 1
    store.roll_back(world.engine, SystemClock(), tenant="acme", prompt="ramp")
    assert store.get_release(world.engine, release.id).stage == Stage.ROLLED_BACK


def test_frequent_questions_are_warm_before_users_ask(world: World) -> None:
    world.serve(world.spec("ramp"))
    with writing(world.engine) as session:
        session.add_all(call(f"asked-{number}", started_at=time.time()) for number in range(3))
    first = warm_cache(WarmRequest(prompt="ramp", top=1))
    assert (first.questions, first.answered + first.already_warm, first.failed) == (1, 1, 0)
    again = warm_cache(WarmRequest(prompt="ramp", top=1))
    assert (again.answered, again.already_warm, again.cost_usd) == (0, 1, 0.0)
