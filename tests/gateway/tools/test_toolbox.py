"""Running tools: bounded in time, number and size; errors without internals; nothing of another tenant."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.errors import InvalidRequest, ToolFailed, UnknownTool
from gateway.tools.context import ToolContext, ToolRefusal
from gateway.tools.execution import MAX_RESULT_CHARS
from gateway.tools.metrics import ToolMetrics
from gateway.tools.registry import Tool, load_tools, tool
from gateway.tools.toolbox import MAX_CALLS_PER_MESSAGE, MAX_THREADS, Toolbox
from gateway.types import Call, Passage
from tests.gateway.tools.fakes import FakeLibrary

SECRET = "the database password is hunter2"


@tool(repeatable=True)
async def echo(value: str) -> str:
    """Say it again."""
    return value


@tool
def twice(value: int) -> dict[str, int]:
    """Double it."""
    return {"twice": 2 * value, "on_the_loop": int(threading.current_thread() is threading.main_thread())}


@tool
async def whose(context: ToolContext) -> list[str]:
    """Say for whom it works."""
    return [context.tenant, context.call_id, context.collection]


@tool
async def refuses() -> None:
    """Refuse."""
    raise ToolRefusal("there is no such order")


def box(*tools: Tool, **more: Any) -> Toolbox:
    return Toolbox({one.name: one for one in (echo, twice, whose, refuses, *tools)}, **more)


def message(*calls: tuple[str, Any]) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": f"t{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for n, (name, arguments) in enumerate(calls)
        ],
    }


CALL = Call(id="call_1", tenant="acme", received_at=0.0, collection="help", epoch="e1")


async def told(toolbox: Toolbox, *calls: tuple[str, Any]) -> list[str]:
    done = await toolbox.run(CALL, message(*calls))
    return [result["content"] for result in done.messages[1:]]


async def execute(toolbox: Toolbox, name: str, arguments: str = "{}") -> Any:
    return await toolbox.execute(name, arguments, toolbox.context("acme", "call_1"))


async def test_results_come_in_the_order_of_the_calls() -> None:
    done = await box().run(CALL, message(("echo", '{"value": "a"}'), ("twice", '{"value": 4}'), ("whose", "")))
    assert [(result["role"], result["tool_call_id"]) for result in done.messages[1:]] == [
        ("tool", "t0"), ("tool", "t1"), ("tool", "t2"),
    ]  # fmt: skip
    assert [result["content"] for result in done.messages[1:]] == [
        "a", '{"twice":8,"on_the_loop":0}', '["acme","call_1","help"]',
    ]  # fmt: skip
    assert (done.sound, done.searched, done.documents) == (True, False, ())


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("twice", '{"value": "4"}', "value: Input should be a valid integer"),
        ("twice", '{"value": 4', "JSON"),
        ("twice", None, "value: Field required"),
        ("twice", {"value": 4}, ""),
        ("refuses", "{}", "there is no such order"),
        ("nobody", "{}", "there is no tool 'nobody'"),
    ],
)
async def test_a_model_is_told_what_is_wrong(name: str, arguments: Any, words: str) -> None:
    done = await box().run(CALL, message((name, arguments)))
    assert done.sound is not bool(words)
    if words:
        assert words in json.loads(done.messages[1]["content"])["error"]


@pytest.mark.parametrize("arguments", ["{oops", "[1]", '"text"', None, ""])
async def test_arguments_that_are_no_object_are_not_sent_back(arguments: Any) -> None:
    done = await box().run(CALL, message(("whose", arguments)))
    [call] = done.messages[0]["tool_calls"]
    assert json.loads(call["function"]["arguments"] or "{}") == {}


def _raising(error: BaseException) -> Callable[[], None]:
    def trouble() -> None:
        """Fail."""
        raise error

    return trouble


def _raising_later(error: BaseException) -> Callable[[], Any]:
    async def trouble() -> None:
        """Fail."""
        raise error

    return trouble


@pytest.mark.parametrize("kind", [_raising, _raising_later])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(SECRET),
        TimeoutError(SECRET),
        StopIteration(SECRET),
        SystemExit(SECRET),
        KeyboardInterrupt(SECRET),
        asyncio.CancelledError(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_tool_raises_is_a_failure_without_internals(
    kind: Callable[[BaseException], Callable[[], Any]], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    toolbox = box(tool(kind(error)))
    with caplog.at_level(logging.INFO), pytest.raises(ToolFailed) as failed:
        await execute(toolbox, "trouble")
    assert failed.value.message == "the tool 'trouble' failed"
    assert "hunter2" not in caplog.text
    assert "the tool trouble raised" in caplog.text
    done = await toolbox.run(CALL, message(("trouble", "{}"), ("echo", '{"value": "a"}')))
    assert [result["content"] for result in done.messages[1:]] == ['{"error":"the tool \'trouble\' failed"}', "a"]
    assert not done.sound


async def test_a_tool_that_takes_too_long_is_left_behind() -> None:
    stubborn = asyncio.Event()

    @tool(timeout=0.01)
    async def slow() -> None:
        """Wait."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await stubborn.wait()  # does not let itself be cancelled

    with pytest.raises(ToolFailed, match=r"longer than 0\.01 s"):
        await execute(box(slow), "slow")
    stubborn.set()


async def test_threads_that_hang_are_bounded_and_give_their_places_back() -> None:
    gate = threading.Event()
    running = threading.Semaphore(0)

    @tool(timeout=0.05)
    def hang() -> str:
        """Wait."""
        running.release()
        gate.wait(10)
        return "free"

    toolbox = box(hang)
    outcomes = await asyncio.gather(*(execute(toolbox, "hang") for _ in range(MAX_THREADS + 3)), return_exceptions=True)
    assert all(isinstance(outcome, ToolFailed) for outcome in outcomes)
    assert sum(running.acquire(blocking=False) for _ in outcomes) == MAX_THREADS
    gate.set()
    for _ in range(100):
        if isinstance(await _outcome(toolbox, "hang"), str):
            break
    assert await _outcome(toolbox, "hang") == "free"


async def _outcome(toolbox: Toolbox, name: str) -> Any:
    try:
        return (await execute(toolbox, name)).text
    except ToolFailed as error:
        return error


async def test_the_calls_of_a_message_run_at_once_and_only_so_many() -> None:
    together = asyncio.Barrier(MAX_CALLS_PER_MESSAGE)

    @tool
    async def meet() -> str:
        """Wait for the others."""
        await together.wait()
        return "met"

    toolbox = box(meet)
    contents = await told(toolbox, *(("meet", "{}") for _ in range(MAX_CALLS_PER_MESSAGE + 2)))
    assert contents[:MAX_CALLS_PER_MESSAGE] == ["met"] * MAX_CALLS_PER_MESSAGE
    assert all("at once" in json.loads(content)["error"] for content in contents[MAX_CALLS_PER_MESSAGE:])


async def test_who_leaves_takes_its_tools_along() -> None:
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    @tool
    async def slow() -> None:
        """Wait."""
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    call = asyncio.create_task(box(slow).run(CALL, message(("slow", "{}"))))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(cancelled.wait(), 5)


@pytest.mark.parametrize("value", ["é" * (MAX_RESULT_CHARS + 1), ["x" * MAX_RESULT_CHARS]], ids=["text", "json"])
async def test_a_long_result_is_cut_and_says_so(value: Any) -> None:
    @tool
    async def long() -> Any:
        """Talk."""
        return value

    result = await execute(box(long), "long")
    assert result.cut
    assert result.text.endswith("characters]")
    assert MAX_RESULT_CHARS < len(result.text) < MAX_RESULT_CHARS + 100
    assert json.loads(result.json) == result.text


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, "null"),
        (10**40, "1" + "0" * 40),
        (float("nan"), "null"),
        ({"at": {1}}, '{"at":[1]}'),
        (Passage("d", 1, "t", "x", 0.5), None),
        pytest.param(object(), None, id="an object"),
        ("\ud800", None),
        (CIRCLE, None),
    ],
    ids=str,
)
async def test_a_result_is_json_or_a_failure(value: Any, text: str | None) -> None:
    @tool
    async def gives() -> Any:
        """Give it."""
        return value

    if text is None:
        with pytest.raises(ToolFailed):
            await execute(box(gives), "gives")
    else:
        result = await execute(box(gives), "gives")
        assert (result.text, result.cut) == (text, False)
        json.loads(result.json)


async def test_what_tools_have_read_is_told_and_is_the_tenants_own() -> None:
    library = FakeLibrary(
        {
            ("acme", "help"): (Passage("returns", 3, "Returns", "30 days.", 0.9),),
            ("rival", "help"): (Passage("secret", 1, "Secret", "40 %.", 0.9),),
        }
    )
    toolbox = Toolbox(load_tools(), library=library)
    asked = message(*(("search_documents", json.dumps({"query": q})) for q in ("a", "b")))
    done = await toolbox.run(CALL, asked)
    assert (done.searched, done.documents, done.sound) == (True, ("doc:help/returns@3",), True)
    assert {(tenant, epoch) for tenant, _, epoch, *_ in library.asked} == {("acme", "e1")}
    assert "40 %" not in str(done.messages)
    again = await toolbox.run(CALL, message(("calculate", '{"expression": "1+1"}')))
    assert (again.searched, again.documents) == (False, ())


@pytest.mark.parametrize(
    ("calls", "owned"),
    [
        ([("echo", "{}")], True),
        ([("echo", "{}"), ("twice", "{}")], True),
        ([("echo", "{}"), ("theirs", "{}")], False),
        ([("refuses", "{}")], False),
        ([], False),
    ],
)
def test_it_owns_only_messages_that_call_nothing_but_what_was_offered(
    calls: Sequence[tuple[str, str]], owned: bool
) -> None:
    assert box().owns(("echo", "twice"), message(*calls)) is owned


@pytest.mark.parametrize("odd", [{}, {"type": "custom", "custom": {"name": "echo"}}, {"function": None}])
def test_it_owns_no_odd_calls(odd: dict[str, Any]) -> None:
    assert not box().owns(("echo",), {"role": "assistant", "tool_calls": [odd]})


def test_a_round_is_repeatable_if_all_of_it_is() -> None:
    toolbox = box()
    assert toolbox.repeatable(("echo", "twice"), message(("echo", "{}"), ("echo", "{}")))
    assert not toolbox.repeatable(("echo", "twice"), message(("echo", "{}"), ("twice", "{}")))


def test_calls_may_share_what_has_no_effect() -> None:
    toolbox = box(*load_tools().values())
    assert toolbox.shareable(("echo", "calculate", "current_time", "search_documents", "nobody"))
    assert not toolbox.shareable(("echo", "twice"))


def test_unknown_tools_are_no_definitions() -> None:
    assert box().definitions(["twice", "echo"]) == [twice.definition, echo.definition]
    with pytest.raises(UnknownTool, match="'nobody'"):
        box().definitions(["echo", "nobody"])


async def test_direct_calls_raise_what_models_are_told() -> None:
    for name, arguments, error in (
        ("nobody", "{}", UnknownTool), ("twice", "{}", InvalidRequest), ("refuses", "{}", InvalidRequest),
    ):  # fmt: skip
        with pytest.raises(error):
            await execute(box(), name, arguments)


async def test_outcomes_are_counted_by_registered_names_only() -> None:
    registry = CollectorRegistry()
    toolbox = box(metrics=ToolMetrics(registry))
    await told(toolbox, ("echo", '{"value": "a"}'), ("refuses", "{}"), ("made up", "{}"))

    def count(name: str, outcome: str) -> float | None:
        return registry.get_sample_value("promptyard_tool_seconds_count", {"tool": name, "outcome": outcome})

    assert (count("echo", "ok"), count("refuses", "invalid_request"), count("made up", "unknown_tool")) == (1, 1, None)
