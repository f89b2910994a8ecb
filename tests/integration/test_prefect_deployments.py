"""deployments/prefect.yaml as a whole: everything that it names exists and fits."""

import importlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import SCHEDULE_TYPES
from prefect.events import DeploymentTriggerTypes
from pydantic import TypeAdapter

ROOT = Path(__file__).parents[2]
FILE: dict[str, Any] = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: list[dict[str, Any]] = FILE["deployments"]
EVERY = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=[one["name"] for one in DEPLOYMENTS])


def flow_of(deployment: dict[str, Any]) -> "Flow[..., Any]":
    module, _, name = deployment["entrypoint"].rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Flow)
    return found


@EVERY
def test_the_entrypoint_is_a_module_with_that_flow(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    assert deployment["entrypoint"] == f"{flow.fn.__module__}.{flow.fn.__name__}", "a path would shadow libraries"
    assert flow.name == flow.fn.__name__
    assert deployment["description"].endswith(".")


@EVERY
def test_the_parameters_fit_the_flow(deployment: dict[str, Any]) -> None:
    """What nobody starts by hand must run with the parameters that stand in the file, and no others."""
    flow = flow_of(deployment)
    parameters = deployment.get("parameters", {})
    assert set(parameters) <= set(flow.parameters.properties)
    if deployment.get("schedules") or deployment.get("triggers"):
        assert set(flow.parameters.required or ()) <= set(parameters)
        flow.validate_parameters(parameters)


@EVERY
def test_the_schedules_parse(deployment: dict[str, Any]) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(SCHEDULE_TYPES)
    for schedule in deployment.get("schedules", ()):
        assert set(schedule) <= {"interval", "anchor_date", "cron", "timezone"}
        interval = {"interval": timedelta(seconds=schedule["interval"])} if "interval" in schedule else {}
        assert adapter.validate_python({**schedule, **interval}).timezone == "UTC"


@EVERY
def test_the_triggers_parse(deployment: dict[str, Any]) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(DeploymentTriggerTypes)
    for trigger in deployment.get("triggers", ()):
        parsed = adapter.validate_python({**trigger, "name": "any"})
        assert parsed.enabled
        assert parsed.posture.value == "Reactive"
        flow_of(deployment).validate_parameters(trigger.get("parameters", {}))


def test_every_flow_is_deployed_once() -> None:
    files = {path.stem for path in (ROOT / "flows").glob("*.py")} - {"__init__"}
    assert sorted(deployment["entrypoint"] for deployment in DEPLOYMENTS) == sorted(f"flows.{n}.{n}" for n in files)
    assert len({deployment["name"] for deployment in DEPLOYMENTS}) == len(DEPLOYMENTS)


def test_all_of_them_run_on_the_pool_that_the_stack_makes() -> None:
    from deployments.stack.services import WORK_POOL

    assert {deployment["work_pool"]["name"] for deployment in DEPLOYMENTS} == {WORK_POOL}


def test_what_must_happen_by_itself_has_a_schedule() -> None:
    scheduled = {deployment["name"] for deployment in DEPLOYMENTS if deployment.get("schedules")}
    assert scheduled >= {"score", "advance", "judge-semantic", "drift", "costs", "cache", "invalidate", "documents"}
    assert "run-jobs" in scheduled
