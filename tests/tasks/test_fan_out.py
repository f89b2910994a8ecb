"""Parts of a list worked on at once, in threads or by Dask, with the same results in the same order."""

import pickle
import threading
from importlib.util import find_spec
from typing import Any

import pytest
from prefect import flow

from gateway.settings import Settings
from gateway.types import Answer, Call, Cost, Layer, ModelRef, PromptVersion, Reply, Usage
from tasks.evaluation import Part
from tasks.fan_out import Bar, DaskMissing, fan_out, watched
from tasks.llm import ONE_BY_ONE, LlmResult
from tasks.specs.datasets import GoldenItem
from tasks.specs.model import GateSpec
from tasks.step import step

DASK = find_spec("prefect_dask") is not None


@step("square")
def square(numbers: list[int]) -> list[int]:
    if 13 in numbers:
        raise ValueError("13 brings bad luck")
    return [number**2 for number in numbers]


def spread(settings: Settings, parts: list[list[int]]) -> tuple[list[list[int]], list[str]]:
    """The squares, and what was told meanwhile."""
    told: list[str] = []

    @flow(name="fan-out-test")
    def squares() -> list[list[int]]:
        with fan_out(settings, Bar("squares", sum(map(len, parts)))) as threads:
            return threads.map(square, "square many", parts)

    with watched(told.append):
        return squares(), told


@pytest.mark.integration
def test_threads_work_on_the_parts_and_tell_how_far_they_are(prefect_api: str) -> None:
    before = threading.active_count()
    found, told = spread(Settings(), [[1, 2], [3], [4, 5]])
    assert found == [[1, 4], [9], [16, 25]]
    assert (len(told), told[-1]) == (3, "5 of 5 answered and judged")
    assert threading.active_count() <= before + 4


@pytest.mark.integration
def test_what_a_part_raises_is_raised(prefect_api: str) -> None:
    with pytest.raises(ValueError, match="13 brings bad luck"):
        spread(Settings(), [[1], [13]])


@pytest.mark.skipif(DASK, reason="Dask is installed: nothing is missing")
def test_without_the_extra_the_setting_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(DaskMissing, match="not installed") as refused, fan_out(_dask(), Bar("none", 1)):
        pytest.fail("it was started")
    assert "promptyard[dask]" in refused.value.hint
    assert "PROMPTYARD_TASK_RUNNER=threads" in refused.value.hint


@pytest.mark.integration
@pytest.mark.skipif(not DASK, reason="Dask is not installed: pip install 'promptyard[dask]'")
def test_dask_gives_the_same(prefect_api: str) -> None:
    found, told = spread(_dask(), [[1, 2], [3], [4, 5]])
    assert found == [[1, 4], [9], [16, 25]]
    assert told[-1] == "5 of 5 answered and judged"


def test_what_is_handed_to_another_process_survives_the_way() -> None:
    version = PromptVersion(
        tenant="acme",
        name="help",
        version="1.0.0",
        digest="d",
        template=({"role": "user", "content": "{{question}}"},),
        variables=(),
        chain=(ModelRef("openai", "small"),),
    )
    item = GoldenItem(id="g", variables={"question": "Why?"}, reference="So.")
    part = Part(Settings(), "acme", version, ((item, 0),), GateSpec(), True, ONE_BY_ONE, 16)
    assert _there_and_back(part) == part
    said = {"role": "assistant", "content": "So."}
    reply = Reply(message=said, finish_reason="stop", provider="openai", model="small", usage=Usage(3, 1))
    call = Call(id="c", tenant="acme", received_at=0.0, version=version, variables={"question": "Why?"})
    result = LlmResult(Answer(call=call, reply=reply, layer=Layer.NONE, cost=Cost(), latency_ms=5.0))
    assert _there_and_back(result).text == "So."


def _dask() -> Settings:
    return Settings(task_runner="dask", task_workers=2)


def _there_and_back(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 (as Dask does it between its own processes)
