"""Functions as tools: ``@tool`` makes one, ``load_tools`` collects those of the modules that the settings name.

::

    @tool(repeatable=True)
    async def order_state(context: ToolContext, order: Annotated[str, Field(description="Such as A-4711.")]) -> str:
        \"\"\"Where an order is now.\"\"\"

What a model sees of it: the name, the docstring's first paragraph, and the JSON schema of the typed parameters.
"""

import importlib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, overload

from gateway.tools.signature import Arguments, ToolDefinitionError, first_paragraph

BUILT_IN = "gateway.tools.built_in"
DEFAULT_TIMEOUT = 5.0
LONGEST_TIMEOUT = 30.0
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Tool:
    """A function that models may call. Still a function: calling it calls the function."""

    name: str
    description: str
    function: Callable[..., Any] = field(repr=False)
    arguments: Arguments = field(repr=False)
    repeatable: bool
    """The same arguments give the same result, whenever and for whomever: answers made with it may be cached."""
    shareable: bool
    """Identical calls in flight may share one result: it has no effect and says nothing that is one caller's own."""
    timeout: float
    """Seconds."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @property
    def definition(self) -> Mapping[str, Any]:
        """In OpenAI's shape."""
        function = {"name": self.name, "description": self.description, "parameters": self.arguments.schema}
        return {"type": "function", "function": function}


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *, name: str = ..., repeatable: bool = ..., shareable: bool | None = ..., timeout: float = ...
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    repeatable: bool = False,
    shareable: bool | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function, plain (it runs in a thread) or async. Raises ToolDefinitionError.

    ``shareable`` is as ``repeatable`` unless it is said; ``timeout`` is in seconds, at most 30. Parameters are typed as
    pydantic has it, ``Annotated[..., Field(...)]`` included; a first parameter of type ``ToolContext`` gets the call's
    context and is not shown to the model.
    """

    def define(function: Callable[..., Any]) -> Tool:
        return _define(function, name, repeatable, repeatable if shareable is None else shareable, timeout)

    return define if function is None else define(function)


def _define(function: Callable[..., Any], name: str, repeatable: bool, shareable: bool, timeout: float) -> Tool:
    place = f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
    name = name or getattr(function, "__name__", "")
    if not _NAME.fullmatch(name):
        raise ToolDefinitionError(f"{place}: {name!r} is no tool's name: 1 to 64 letters, digits, _ and -")
    if not (math.isfinite(timeout) and 0 < timeout <= LONGEST_TIMEOUT):
        raise ToolDefinitionError(f"{place}: the time-out is more than 0 and at most {LONGEST_TIMEOUT:g} seconds")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ToolDefinitionError(f"{place}: a tool returns its result; this one yields")
    description = first_paragraph(function.__doc__)
    if not description:
        raise ToolDefinitionError(f"{place}: without a docstring no model knows what the tool is for")
    return Tool(name, description, function, Arguments(function, place), repeatable, shareable, timeout)


def load_tools(modules: Iterable[str] = ()) -> Mapping[str, Tool]:
    """The built-in tools and those that the modules define or import, by name, sorted. Imports the modules.

    Raises ToolDefinitionError, also for a module that cannot be imported or has no tool, and for two tools of one name.
    """
    found: dict[str, Tool] = {}
    for module in (BUILT_IN, *modules):
        tools = _tools_of(module)
        if not tools:
            raise ToolDefinitionError(f"the module {module!r} has no tools: is '@tool' missing?")
        for one in tools:
            if found.setdefault(one.name, one) is not one:
                raise ToolDefinitionError(f"two tools have the name {one.name!r}, one of them in {module!r}")
    return dict(sorted(found.items()))


def _tools_of(module: str) -> list[Tool]:
    try:
        imported = importlib.import_module(module)
    except ToolDefinitionError:
        raise
    except Exception as error:
        raise ToolDefinitionError(f"the module of tools {module!r} cannot be imported: {error}") from error
    return [value for value in vars(imported).values() if isinstance(value, Tool)]
