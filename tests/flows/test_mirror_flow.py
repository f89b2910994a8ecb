"""A release with a mirror stage through its flows: it starts unseen, is judged and compared, and goes on."""

import pytest
from sqlalchemy import select

from flows.advance_canaries import advance_canaries
from gateway.clock import SystemClock
from gateway.storage.engine import reading, writing
from gateway.storage.models import ReleaseRow, ReleaseStepRow, ScoreRow
from tasks.releases import store
from tasks.releases.mirror_evidence import PREFERRED
from tests.flows.conftest import World
from tests.tasks.releases.mirrors import pair

pytestmark = pytest.mark.integration

QUESTION = "How much does the Solo plan cost per month?"
GROUNDS = "[doc:plans-and-prices] Plans\nThe Solo plan costs €9 per month and covers up to 3 sensors."


def test_mirrored_calls_are_judged_and_compared_before_the_first_user(world: World) -> None:
    world.serve(world.spec("mirrored"))
    plan = {"steps": [50], "window": 60, "scoring_grace": 10, "mirror": {"calls": 10, "judged": 3, "share": 50}}
    release = world.release(world.spec("mirrored", version="1.1.0", canary=plan))
    assert (release.stage, release.weight_percent) == ("mirror", 0.0)
    (held,) = (one for one in advance_canaries() if one.id == release.id)
    assert (held.stage, world.production("mirrored")) == ("mirror", "1.0.0"), "no pairs, no verdict"

    row = store.get_release(world.engine, release.id)
    now = SystemClock().now()
    asked = {"prompt": "mirrored", "question": QUESTION, "context": GROUNDS}
    shown = {**asked, **{f"live_{name}": value for name, value in asked.items()}}
    with writing(world.engine) as session:
        for number in range(10):
            answer = f"The Solo plan costs €9 per month, and that is answer {number}."
            session.add_all(pair(row, f"flow-{number}", now + number, answer=answer, live_answer="€9.", **shown))
    (went_on,) = (one for one in advance_canaries() if one.id == release.id)
    assert (went_on.stage, went_on.weight_percent) == ("canary", 50.0)
    with reading(world.engine) as session:
        judged = session.scalars(select(ScoreRow).where(ScoreRow.metric == PREFERRED)).all()
    assert {row.call_id for row in judged} == {"mirror-flow-0", "mirror-flow-1", "mirror-flow-2"}
    seen = store.steps_of(world.engine, release.id)[-1].evidence["mirror"]["decision"]
    assert (seen["pairs"], {one["metric"]: one["pairs"] for one in seen["metrics"]}[PREFERRED]) == (10, 3)

    import mlflow

    run = mlflow.get_run(store.get_release(world.engine, release.id).mlflow_run)
    assert run.data.metrics["mirror_pairs"] == 10
    store.roll_back(world.engine, SystemClock(), tenant="acme", prompt="mirrored")


def test_a_release_that_cannot_be_looked_at_holds_up_no_other(world: World) -> None:
    plan = {"steps": [50], "window": 60, "scoring_grace": 10, "mirror": {"calls": 10, "judged": 0, "max_hours": 1}}
    rows = []
    for name in ("broken", "sound"):
        world.serve(world.spec(name))
        rows.append(store.get_release(world.engine, world.release(world.spec(name, version="1.1.0", canary=plan)).id))
    broken, sound = rows
    with writing(world.engine) as session:
        stored = session.get_one(ReleaseRow, broken.id)
        stored.policy = {**stored.policy, "canary": {"steps": "none that anybody knows"}}
        steps = select(ReleaseStepRow).where(ReleaseStepRow.release_id == sound.id, ReleaseStepRow.kind == "mirroring")
        session.scalars(steps).one().at -= 7_200
    with pytest.raises(ValueError, match="steps"):
        advance_canaries()
    assert store.get_release(world.engine, sound.id).stage == "inconclusive"
    assert store.get_release(world.engine, broken.id).stage == "mirror"
    store.roll_back(world.engine, SystemClock(), tenant="acme", prompt="broken")
