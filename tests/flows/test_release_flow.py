"""From a file to live users, as a person starts it: every end that a release can come to."""

from typing import Any

import pytest

from flows.approve_release import ApprovalRequest, approve_release
from gateway.errors import Conflict
from gateway.storage.models import ReleaseRow
from tasks.registration import EmptyCollection
from tasks.registry import RegistryUnavailable
from tasks.releases import store
from tasks.releases.store import DuplicateVersion, ReleaseInProgress
from tasks.specs.reading import SpecError
from tests.flows.conftest import GOLDEN, MUST_PASS, World, rows

pytestmark = pytest.mark.integration


def releases(world: World, name: str) -> list[ReleaseRow]:
    return store.releases_of(world.engine, "acme", name)


def test_a_first_version_goes_live_and_a_changed_one_of_the_same_number_does_not(world: World) -> None:
    released = world.release(world.spec("first"))
    assert (released.stage, released.weight_percent, world.production("first")) == ("promoted", 100.0, "1.0.0")
    row = store.get_version(world.engine, "acme", "first", "1.0.0")
    assert (row.verdict, row.author, bool(row.gate_run), row.mlflow_version) == ("pass", "somebody", True, "1")
    assert [step.kind for step in store.steps_of(world.engine, released.id)] == ["registered", "promoted"]

    import mlflow

    shown = mlflow.genai.load_prompt("prompts:/acme.first@production")
    assert (shown.version, shown.tags["semver"], shown.tags["verdict"]) == (1, "1.0.0", "pass")
    run = mlflow.get_run(row.gate_run)
    assert run.data.params["version"] == "1.0.0"
    assert run.data.metrics["items"] == len(GOLDEN)
    items = mlflow.load_table("items.json", run_ids=[row.gate_run])
    assert len(items) == len(GOLDEN) + len(MUST_PASS)

    changed = world.spec("first", personal=True)
    with pytest.raises(DuplicateVersion, match=r"first 1\.0\.0 exists with another content") as refused:
        world.release(changed)
    assert "Raise 'version'" in refused.value.hint
    assert len(releases(world, "first")) == 1
    assert store.get_version(world.engine, "acme", "first", "1.0.0").digest == row.digest
    with pytest.raises(Conflict, match="in production already"):
        world.release(world.spec("first"))


def test_a_must_pass_case_that_fails_is_refused(world: World) -> None:
    broken: list[dict[str, Any]] = [
        {**row, "assertions": [{"type": "contains", "value": "€9,999"}]} for row in rows("must_pass.jsonl", MUST_PASS)
    ]
    refused = world.release(world.spec("refused", must_pass=broken))
    assert (refused.stage, world.production("refused")) == ("refused", "")
    assert "m-001" in refused.reason
    assert [step.kind for step in store.steps_of(world.engine, refused.id)] == ["registered", "gated", "settled"]
    assert store.get_version(world.engine, "acme", "refused", "1.0.0").verdict == "fail"
    assert not [row for row in store.open_releases(world.engine) if row.prompt == "refused"]


def test_approval_holds_the_release_and_another_has_to_wait(world: World) -> None:
    held = world.release(world.spec("held", approval="required"))
    assert (held.stage, world.production("held")) == ("awaiting_approval", "")
    with pytest.raises(ReleaseInProgress, match=rf"release {held.id} of held 1\.0\.0 is open .awaiting approval"):
        world.release(world.spec("held", approval="required", version="1.1.0"))
    assert [row.id for row in releases(world, "held")] == [held.id]
    approved = approve_release(ApprovalRequest(release_id=held.id, approved_by="the owner"))
    assert (approved.stage, world.production("held")) == ("promoted", "1.0.0")
    assert store.get_release(world.engine, held.id).approved_by == "the owner"
    with pytest.raises(Conflict, match="awaits no approval: it is promoted"):
        approve_release(ApprovalRequest(release_id=held.id, approved_by="the owner"))


def test_a_rejection_closes_the_release(world: World) -> None:
    held = world.release(world.spec("rejected", approval="required"))
    no = approve_release(ApprovalRequest(release_id=held.id, approved_by="the owner", approve=False, reason="too dry"))
    assert (no.stage, no.reason, world.production("rejected")) == ("refused", "rejected by the owner: too dry", "")


def test_without_mlflow_nothing_is_open_afterwards_and_the_same_command_works_later(world: World) -> None:
    path = world.spec("waits")
    world.in_workspace(mlflow_tracking_uri="http://127.0.0.1:1")
    try:
        with pytest.raises(RegistryUnavailable, match="MLflow does not answer") as refused:
            world.release(path)
        assert "promptyard up" in refused.value.hint
        assert not store.open_releases(world.engine)
        assert world.production("waits") == ""
    finally:
        world.in_workspace()
    assert world.release(path).stage == "promoted"


def test_a_file_that_is_wrong_changes_nothing(world: World) -> None:
    with pytest.raises(SpecError, match="no-such-model"):
        world.release(world.spec("wrong", model={"chain": ["no-such-model"]}))
    with pytest.raises(SpecError, match="no such file"):
        world.release(world.folder / "nowhere.yaml")
    assert "wrong" not in {row.name for row in store.list_prompts(world.engine)}


def test_a_prompt_without_documents_is_told_how_to_get_some(world: World) -> None:
    retrieval = {"collection": "empty", "query": "{{question}}", "into": "context"}
    with pytest.raises(EmptyCollection, match="no documents to answer from") as refused:
        world.release(world.spec("hollow", retrieval=retrieval))
    assert "promptyard documents put empty" in refused.value.hint
    assert "hollow" not in {row.name for row in store.list_prompts(world.engine)}
