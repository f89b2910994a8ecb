"""From a function's signature to the model that checks its arguments and the schema that describes them."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

from gateway.errors import InvalidRequest
from gateway.tools.context import ToolContext

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_PLAIN = frozenset({inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY})
_SHOWN_PROBLEMS = 3


class ToolDefinitionError(Exception):
    """A tool cannot be offered as it is written. The message names the function and what is wrong."""


class _Untitled(GenerateJsonSchema):
    """Titles repeat the names of the properties, and every token of a schema is paid for."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class Arguments:
    """The arguments of one function. ``schema`` is JSON schema of an object; nothing else may be in it."""

    def __init__(self, function: Callable[..., Any], place: str) -> None:
        """Raises ToolDefinitionError; ``place`` is how it names the function."""
        hints = _hints(function, place)
        parameters = list(inspect.signature(function).parameters.values())
        self.takes_context = bool(parameters) and hints.get(parameters[0].name) is ToolContext
        parameters = parameters[1:] if self.takes_context else parameters
        for parameter in parameters:
            _check(parameter, hints, place)
        self._names = tuple(parameter.name for parameter in parameters)
        # Fields have names of our own and the parameters' as aliases: a parameter may be called 'json' or '_x'.
        fields: dict[str, Any] = {
            f"argument_{number}": (hints[p.name], _field(p, hints[p.name], place))
            for number, p in enumerate(parameters)
        }
        try:
            self._model: type[BaseModel] = create_model("Arguments", __config__=_STRICT, **fields)
            self.schema: Mapping[str, Any] = _schema(self._model)
        except PydanticUserError as error:
            raise ToolDefinitionError(f"{place}: its parameters cannot be described: {error.message}") from None

    def read(self, given: bytes | str) -> dict[str, Any]:
        """Arguments by name, the defaults included, from a JSON object. No text at all is an empty object.

        Strict: ``"3"`` is no integer, and what the schema does not name is refused. Raises InvalidRequest, which says
        where and never what.
        """
        try:
            model = self._model.model_validate_json(given or b"{}", strict=True, extra="forbid")  # nested models too
        except ValidationError as error:
            raise InvalidRequest(_problems(error), hint="GET /v1/tools shows the schema.") from None
        return {name: getattr(model, f"argument_{number}") for number, name in enumerate(self._names)}


def _hints(function: Callable[..., Any], place: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise ToolDefinitionError(f"{place}: a type cannot be resolved: {error}") from None


def _check(parameter: inspect.Parameter, hints: Mapping[str, Any], place: str) -> None:
    name = parameter.name
    if parameter.kind not in _PLAIN:
        raise ToolDefinitionError(f"{place}: the parameter {name!r} cannot be given by name")
    if name not in hints:
        raise ToolDefinitionError(f"{place}: the parameter {name!r} has no type")
    if hints[name] is ToolContext:
        raise ToolDefinitionError(f"{place}: only the first parameter can be a ToolContext")


def _field(parameter: inspect.Parameter, hint: Any, place: str) -> Any:
    if parameter.default is inspect.Parameter.empty:
        return Field(alias=parameter.name)
    try:
        TypeAdapter(hint).validate_python(parameter.default)
    except ValidationError:
        raise ToolDefinitionError(f"{place}: the default of {parameter.name!r} does not fit its own type") from None
    except PydanticUserError as error:
        raise ToolDefinitionError(f"{place}: the type of {parameter.name!r}: {error.message}") from None
    return Field(default=parameter.default, alias=parameter.name)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=_Untitled)
    del schema["title"]
    return {"properties": {}, **schema}


def _problems(error: ValidationError) -> str:
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    lines = [f"{'.'.join(map(str, p['loc']))[:100]}: {p['msg']}".removeprefix(": ") for p in problems]
    more = len(lines) - _SHOWN_PROBLEMS
    shown = "; ".join(lines[:_SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
    return f"the arguments do not fit: {shown}"[:600]


def first_paragraph(docstring: str | None) -> str:
    """The docstring's first paragraph on one line; empty where there is none."""
    lead = re.split(r"\n\s*\n", inspect.cleandoc(docstring or ""), maxsplit=1)[0]
    return " ".join(lead.split())
