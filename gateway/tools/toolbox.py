"""The registered tools, as the request path and the API use them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from gateway.clock import Clock, SystemClock
from gateway.errors import PromptyardError, UnknownTool
from gateway.tools.context import Reading, ToolContext
from gateway.tools.execution import Result, execute
from gateway.tools.metrics import ToolMetrics
from gateway.tools.ports import Library
from gateway.tools.registry import Tool
from gateway.tools.threads import Threads
from gateway.types import Call, Message

MAX_CALLS_PER_MESSAGE = 8
"""They run at once; what a model asks for beyond is refused, so that a round takes no longer than one tool may."""
MAX_THREADS = 16
"""Plain functions that run at once in one process."""


class ToolRound(Struct, frozen=True):
    """What came of one message that calls tools."""

    messages: tuple[Message, ...]
    """The message as it was understood, then a result for each of its calls, in their order."""
    sound: bool
    """Whether every tool gave a result: an answer made from an error must not be kept."""
    searched: bool
    """Whether documents of the call's collection decided a result, if only by not being there."""
    documents: tuple[str, ...]
    """``doc:<collection>/<id>@<version>`` of each document that a tool has seen."""


class Toolbox:
    """Safe to share between all calls of one event loop."""

    def __init__(
        self,
        tools: Mapping[str, Tool] | None = None,
        *,
        library: Library | None = None,
        clock: Clock | None = None,
        metrics: ToolMetrics | None = None,
    ) -> None:
        self._tools = dict(tools or {})
        self._definitions = {name: tool.definition for name, tool in self._tools.items()}
        self._library = library
        self._clock = clock or SystemClock()
        self._metrics = metrics or ToolMetrics()
        self._threads = Threads(MAX_THREADS)

    @property
    def listed(self) -> Sequence[Tool]:
        return tuple(self._tools.values())

    def definitions(self, names: Sequence[str]) -> list[Mapping[str, Any]]:
        """In OpenAI's shape. Raises UnknownTool."""
        for name in names:
            self._known(name)
        return [self._definitions[name] for name in names]

    def owns(self, names: Sequence[str], message: Message) -> bool:
        """Whether the message calls tools, all of them among ``names``."""
        calls = message.get("tool_calls") or ()
        return bool(calls) and all(_name(one) in names for one in calls)

    def repeatable(self, names: Sequence[str], message: Message) -> bool:
        """Whether the tools that it calls give the same results again."""
        return all(self._known(_name(one)).repeatable for one in message.get("tool_calls") or ())

    def shareable(self, names: Sequence[str]) -> bool:
        """Whether identical calls in flight may share what these tools do. Unknown ones do nothing."""
        return all(tool.shareable for name in names if (tool := self._tools.get(name)) is not None)

    async def run(self, call: Call, message: Message) -> ToolRound:
        """Execute the calls of the message, at once. Never raises: a tool that fails says so to the model."""
        asked = list(message.get("tool_calls") or ())
        reading = Reading()
        context = self.context(call.tenant, call.id, call.collection, call.epoch, reading)
        outcomes = await asyncio.gather(*(self._answer(one, number, context) for number, one in enumerate(asked)))
        results = [
            {"role": "tool", "tool_call_id": one.get("id", ""), "content": text}
            for one, (text, _) in zip(asked, outcomes, strict=True)
        ]
        understood = {**message, "tool_calls": [_legible(one) for one in asked]}
        return ToolRound(
            messages=(understood, *results),
            sound=all(sound for _, sound in outcomes),
            searched=reading.searched,
            documents=tuple(dict.fromkeys(reading.documents)),
        )

    async def execute(self, name: str, arguments: bytes | str, context: ToolContext) -> Result:
        """Run one tool on a JSON object. Raises UnknownTool, InvalidRequest, ToolFailed."""
        tool = self._known(name)
        begun = self._clock.monotonic()
        outcome = "cancelled"
        try:
            result = await execute(tool, arguments, context, self._threads)
            outcome = "ok"
            return result
        except PromptyardError as error:
            outcome = error.code
            raise
        finally:
            self._metrics.executed(name, outcome, self._clock.monotonic() - begun)

    def context(
        self, tenant: str, call_id: str, collection: str = "", epoch: str = "", reading: Reading | None = None
    ) -> ToolContext:
        """For whom tools work. ``epoch`` is the collection's, empty while unknown."""
        return ToolContext(tenant, call_id, self._clock, collection, epoch, self._library, reading or Reading())

    async def _answer(self, asked: Mapping[str, Any], number: int, context: ToolContext) -> tuple[str, bool]:
        """What the model is told, and whether it is a result."""
        if number >= MAX_CALLS_PER_MESSAGE:
            return _error(f"only {MAX_CALLS_PER_MESSAGE} calls of tools are executed at once"), False
        try:
            return (await self.execute(_name(asked), _arguments(asked), context)).text, True
        except PromptyardError as error:
            return _error(error.message), False

    def _known(self, name: str) -> Tool:
        if (tool := self._tools.get(name)) is None:
            raise UnknownTool(f"there is no tool {name[:64]!r}")
        return tool


def _name(asked: Mapping[str, Any]) -> str:
    """Empty for calls that are none of functions."""
    function = asked.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else ""


def _arguments(asked: Mapping[str, Any]) -> str:
    given = asked["function"].get("arguments")
    return given if isinstance(given, str) else "{}" if given is None else msgspec.json.encode(given).decode()


def _legible(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is no JSON object, such as the arguments of an answer that was cut short, may be refused when sent back."""
    try:
        msgspec.json.decode(_arguments(asked), type=dict[str, Any])
    except msgspec.MsgspecError:
        return {**asked, "function": {**asked["function"], "arguments": "{}"}}
    return asked


def _error(message: str) -> str:
    return msgspec.json.encode({"error": message}).decode()
