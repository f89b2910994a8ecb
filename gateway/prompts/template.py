"""Templates: ``{{variable}}`` is replaced by its value, once, and nothing is ever evaluated.

A value that itself contains braces is text like any other. ``\\{{`` stands for two literal braces.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from gateway.errors import InvalidRequest, MissingVariable
from gateway.types import Message, PromptVersion

_TOKEN = re.compile(r"\\\{\{|\{\{(.*?)\}\}|\{\{|\}\}", re.DOTALL)
_NAME = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*")

Piece = tuple[bool, str]
"""(is a variable, its name or the literal text)."""


class TemplateError(ValueError):
    """A template does not parse; the message says where (line, column) and what to do."""


@lru_cache(maxsize=4096)
def parse(text: str) -> tuple[Piece, ...]:
    """The template's pieces in order. Raises TemplateError on braces that do not pair or names that are none."""
    pieces: list[Piece] = []
    end = 0
    for token in _TOKEN.finditer(text):
        if token.start() > end:
            pieces.append((False, text[end : token.start()]))
        end = token.end()
        if token.group() == "\\{{":
            pieces.append((False, "{{"))
            continue
        if token.group(1) is None:
            if token.group() == "}}":  # JSON in a template ends like this: harmless, so it stays text
                pieces.append((False, "}}"))
                continue
            raise TemplateError(
                f"{_where(text, token.start())}: '{{{{' is never closed; write '\\{{{{' for literal braces"
            )
        name = _NAME.fullmatch(token.group(1))
        if not name:
            raise TemplateError(
                f"{_where(text, token.start())}: {token.group()[:40]!r} is not a variable: only {{{{name}}}} is, "
                "with letters, digits and underscores; nothing else is evaluated"
            )
        pieces.append((True, name.group(1)))
    if end < len(text):
        pieces.append((False, text[end:]))
    return tuple(pieces)


def names(text: str) -> tuple[str, ...]:
    """The variables of a template in order of appearance, each once."""
    return tuple(dict.fromkeys(value for is_variable, value in parse(text) if is_variable))


def render_text(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables replaced. Raises MissingVariable, naming the variable, if one has no value."""
    try:
        return "".join(values[value] if is_variable else value for is_variable, value in parse(text))
    except KeyError as error:
        raise MissingVariable(f"variable {error.args[0]!r} has no value") from None


def render(template: Sequence[Message], values: Mapping[str, str]) -> tuple[Message, ...]:
    """The messages with the variables of their text content replaced."""
    return tuple(
        {**message, "content": render_text(message["content"], values)}
        if isinstance(message.get("content"), str)
        else message
        for message in template
    )


def with_history(rendered: Sequence[Message], history: Sequence[Message]) -> tuple[Message, ...]:
    """The history before the last user message, which asks what is asked now; at the end where there is none."""
    last = max((at for at, one in enumerate(rendered) if one.get("role") == "user"), default=len(rendered))
    return (*rendered[:last], *history, *rendered[last:])


def bind(version: PromptVersion, given: Mapping[str, object]) -> dict[str, str]:
    """The values of a version's declared variables. Raises MissingVariable or InvalidRequest.

    What retrieval fills is not the caller's to give; numbers and booleans are written as JSON writes them.
    """
    declared = {variable.name: variable for variable in version.variables}
    filled_later = version.retrieval.into if version.retrieval else None
    unknown = sorted(set(given) - set(declared))
    if unknown:
        known = ", ".join(sorted(declared)) or "none"
        raise InvalidRequest(f"{version.ref} has no variable {unknown[0]!r}", hint=f"Its variables are: {known}.")
    values: dict[str, str] = {}
    for name, variable in declared.items():
        if name == filled_later:
            continue
        if name not in given:
            if variable.required:
                raise MissingVariable(f"{version.ref} needs the variable {name!r}")
            values[name] = variable.default
            continue
        values[name] = _as_text(name, given[name], variable.max_chars)
    return values


def _as_text(name: str, value: object, limit: int) -> str:
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, int | float):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidRequest(f"variable {name!r} must be a string", hint="Objects and lists: send them as JSON text.")
    if len(value) > limit:
        raise InvalidRequest(
            f"variable {name!r} has {len(value)} characters, {limit} are allowed",
            hint="Shorten it, or raise max_chars in prompt.yaml.",
        )
    return value


def _where(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    return f"line {line}, column {offset - text.rfind(chr(10), 0, offset)}"
