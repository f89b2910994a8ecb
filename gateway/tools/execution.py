"""One tool, run once: arguments checked, bounded in time, its result bounded in size, its errors without internals."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable
from functools import partial
from typing import Any

from msgspec import Struct
from pydantic_core import PydanticSerializationError, to_json

from gateway.errors import InvalidRequest, ToolFailed
from gateway.tools.context import ToolContext, ToolRefusal
from gateway.tools.registry import Tool
from gateway.tools.threads import Threads

log = logging.getLogger(__name__)

MAX_RESULT_CHARS = 20_000


class Result(Struct, frozen=True):
    """What a tool gave. ``text`` is what a model sees of it: a string as it is, anything else as JSON."""

    text: str
    json: bytes
    """The value as JSON; when it was too long, the text that was left of it, as a JSON string."""
    cut: bool = False


class _Raised(Struct, frozen=True):
    """An exception as a value: some of them would end the loop if a task raised them."""

    error: BaseException


async def execute(tool: Tool, arguments: bytes | str, context: ToolContext, threads: Threads) -> Result:
    """Run the tool on a JSON object of arguments.

    Raises InvalidRequest for arguments that do not fit or that the tool refuses, and ToolFailed when it raises, takes
    longer than its time-out, or returns what JSON cannot hold. What it raised goes to the log by type and place.
    """
    values = tool.arguments.read(arguments)
    given = (context,) if tool.arguments.takes_context else ()
    work = partial(tool.function, *given, **values)
    running = _awaited(work) if tool.is_async else threads.run(partial(_called, work))
    try:
        value = await _in_time(running, tool.timeout)
    except TimeoutError:
        log.warning("the tool %s took longer than %g s, call %s", tool.name, tool.timeout, context.call_id)
        raise ToolFailed(f"the tool {tool.name!r} took longer than {tool.timeout:g} s") from None
    except RuntimeError as error:  # the machine gives no thread
        raise _failed(tool, error, context) from None
    if isinstance(value, _Raised):
        if isinstance(value.error, ToolRefusal):
            raise InvalidRequest(str(value.error)[:1_000], hint="The tool itself refused: see the message.")
        raise _failed(tool, value.error, context)
    try:
        return _bounded(value)
    except (PydanticSerializationError, RecursionError, ValueError) as error:
        raise _failed(tool, error, context) from None


async def _in_time(work: Awaitable[Any], seconds: float) -> Any:
    """Raises TimeoutError when the time is up, even if the work does not let itself be cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done():
        task.cancel()
        raise TimeoutError
    return _Raised(asyncio.CancelledError()) if task.cancelled() else task.result()


async def _awaited(work: partial[Any]) -> Any:
    try:
        return await work()
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return _Raised(error)


def _called(work: partial[Any]) -> Any:
    try:
        return work()
    except BaseException as error:
        return _Raised(error)


def _failed(tool: Tool, error: BaseException, context: ToolContext) -> ToolFailed:
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("the tool %s raised %s, call %s\n%s", tool.name, type(error).__name__, context.call_id, frames)
    return ToolFailed(f"the tool {tool.name!r} failed")


def _bounded(value: Any) -> Result:
    json = to_json(value, inf_nan_mode="null")
    text = value if isinstance(value, str) else json.decode()
    if len(text) <= MAX_RESULT_CHARS:
        return Result(text, json)
    text = f"{text[:MAX_RESULT_CHARS]}\n[cut: the first {MAX_RESULT_CHARS:,} of {len(text):,} characters]"
    return Result(text, to_json(text), cut=True)
