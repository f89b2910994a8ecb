"""Semantic versions of a prompt: how far its number must rise for a change. Pure.

- **major**: who calls the prompt has to change something. A variable is gone, renamed or now required, or takes less
  text; the shape of the answer changes (``response_format``, tools offered to the caller); answers become personal or
  cease to be.
- **minor**: the same calls get other answers. The template's words, the first model or a parameter, the documents and
  how they are looked up, tools of the gateway; a new optional variable.
- **patch**: the same calls get the same answers as long as nothing fails. Only white space at the ends of lines,
  fall-back models behind the first, the time-out; descriptions; the policies of gate, canary, cache, budget, approval.

A number may rise further than it must: an author knows better what a change means to people.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from tasks.specs.model import PromptSpec, VariableSpec

_CALLERS_PARAMS = ("response_format", "tools", "tool_choice")


class Bump(IntEnum):
    """Which part of a version rises."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3

    @property
    def words(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Change:
    """One difference between two specs, and how far it makes the number rise."""

    bump: Bump
    what: str


Version = tuple[int, int, int]


def parse_version(text: str) -> Version:
    """``1.2.0`` as numbers. Raises ValueError."""
    major, minor, patch = text.split(".")
    return int(major), int(minor), int(patch)


def bump_between(before: str, after: str) -> Bump:
    """What rose from one version to another; NONE when ``after`` is not above ``before``."""
    old, new = parse_version(before), parse_version(after)
    if new <= old:
        return Bump.NONE
    return next(bump for bump, a, b in zip((Bump.MAJOR, Bump.MINOR, Bump.PATCH), old, new, strict=True) if a != b)


def raised(version: str, bump: Bump) -> str:
    """The next version after a bump: ``raised("1.2.3", Bump.MINOR)`` is ``1.3.0``."""
    major, minor, patch = parse_version(version)
    if bump is Bump.MAJOR:
        return f"{major + 1}.0.0"
    return f"{major}.{minor + 1}.0" if bump is Bump.MINOR else f"{major}.{minor}.{patch + 1}"


def changes(before: PromptSpec, after: PromptSpec) -> list[Change]:
    """Every difference that decides how far the number must rise, the weightiest first."""
    found = [*_variables(before, after), *_answers(before, after)]
    return sorted(found, key=lambda change: -change.bump)


def least_bump(found: list[Change]) -> Bump:
    """How far the number must rise for these changes; a release without any still needs a number of its own."""
    return max((change.bump for change in found), default=Bump.PATCH)


def bump_problem(before: PromptSpec, after: PromptSpec, taken: frozenset[str] = frozenset()) -> str:
    """Why ``after`` may not follow ``before``, naming the right version; empty when it may.

    ``taken`` are versions that are registered already.
    """
    found = changes(before, after)
    least = least_bump(found)
    given = bump_between(before.version, after.version)
    if given < least:
        right = next_free(before.version, least, taken)
        why = f" ({'; '.join(change.what for change in found[:3])})" if found else ""
        how = f"only raises the {given.words} version" if given else "does not rise above it"
        least_words = f"this is a {least.words} change of {before.version}{why}"
        return f"{least_words}, and {after.version} {how}: the right version is {right}"
    if given >= Bump.MINOR and not after.changelog.strip():
        return f"{after.version} is a {given.words} version, which needs a 'changelog': say what changes for users"
    return ""


def next_free(version: str, bump: Bump, taken: frozenset[str]) -> str:
    """The first version after this bump that nobody has taken."""
    candidate = raised(version, bump)
    while candidate in taken:
        candidate = raised(candidate, bump)
    return candidate


def _variables(before: PromptSpec, after: PromptSpec) -> Iterator[Change]:
    for name in before.variables.keys() - after.variables.keys():
        yield Change(Bump.MAJOR, f"the variable {name!r} is gone")
    for name in after.variables.keys() - before.variables.keys():
        if after.variables[name].required:
            yield Change(Bump.MAJOR, f"callers must give a new variable, {name!r}")
        else:
            yield Change(Bump.MINOR, f"there is a new optional variable, {name!r}")
    for name in before.variables.keys() & after.variables.keys():
        yield from _variable(name, before.variables[name], after.variables[name])


def _variable(name: str, old: VariableSpec, new: VariableSpec) -> Iterator[Change]:
    if new.required and not old.required:
        yield Change(Bump.MAJOR, f"the variable {name!r} is required now")
    elif old.required and not new.required:
        yield Change(Bump.MINOR, f"the variable {name!r} is optional now")
    if new.max_chars < old.max_chars:
        yield Change(Bump.MAJOR, f"the variable {name!r} takes only {new.max_chars} characters")
    elif new.max_chars > old.max_chars:
        yield Change(Bump.MINOR, f"the variable {name!r} takes {new.max_chars} characters")
    if not new.required and not old.required and new.default != old.default:
        yield Change(Bump.MINOR, f"the variable {name!r} has another default")


def _answers(before: PromptSpec, after: PromptSpec) -> Iterator[Change]:
    if before.personal != after.personal:
        yield Change(Bump.MAJOR, f"answers are {'personal now' if after.personal else 'not personal any more'}")
    old, new = before.model, after.model
    for name in sorted({*old.params, *new.params}):
        if old.params.get(name) != new.params.get(name):
            bump = Bump.MAJOR if name in _CALLERS_PARAMS else Bump.MINOR
            yield Change(bump, f"model.params.{name} changes")
    if _words(before) != _words(after):
        yield Change(Bump.MINOR, "the template says something else")
    elif before.template != after.template:
        yield Change(Bump.PATCH, "white space of the template changes")
    if old.chain[0] != new.chain[0]:
        yield Change(Bump.MINOR, f"{new.chain[0]} answers instead of {old.chain[0]}")
    elif old.chain != new.chain:
        yield Change(Bump.PATCH, "the fall-back models change")
    for name in ("temperature", "max_tokens"):
        if getattr(old, name) != getattr(new, name):
            yield Change(Bump.MINOR, f"model.{name} changes")
    if old.timeout != new.timeout:
        yield Change(Bump.PATCH, "the time-out changes")
    if before.retrieval != after.retrieval:
        yield Change(Bump.MINOR, "retrieval changes")
    if before.tools != after.tools:
        yield Change(Bump.MINOR, "the gateway's tools change")


def _words(spec: PromptSpec) -> list[tuple[str, Any]]:
    return [(one.role, [line.rstrip() for line in one.content.rstrip().splitlines()]) for one in spec.template]
