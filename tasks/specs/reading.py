"""From files to a checked spec, with errors that name the place."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tasks.specs.datasets import DatasetError, GoldenItem, read_items, read_records
from tasks.specs.function_files import FunctionError, find_function
from tasks.specs.mlflow_datasets import Datasets, kept_in_mlflow
from tasks.specs.model import PromptSpec


class SpecError(ValueError):
    """A spec cannot be used. ``problems`` has one line each, naming file and field."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))


@dataclass(frozen=True)
class SpecFile:
    """A spec with its datasets, all read and checked."""

    path: Path
    folder: Path
    """Where ``documents/`` and the datasets are: beside the file that the spec extends, if it does."""
    spec: PromptSpec
    golden: tuple[GoldenItem, ...]
    """Empty where it is kept in MLflow and nobody said how to read there."""
    must_pass: tuple[GoldenItem, ...]


def read_spec(
    path: Path, defaults: Mapping[str, Mapping[str, Any]] | None = None, datasets: Datasets | None = None
) -> SpecFile:
    """The checked spec; ``defaults`` are sections (``gate``, ``canary``) of which the file's own values win.

    ``datasets`` are those that the spec names as ``mlflow:NAME``; without it they are not read. Raises SpecError, and
    what ``datasets`` raises; nothing is registered or changed by reading.
    """
    path = Path(path)
    content, home = _merged(path)
    for section, values in (defaults or {}).items():
        own = content.get(section)
        if own is None or isinstance(own, dict):
            content[section] = _over(own or {}, values)
    try:
        spec = PromptSpec.model_validate(content)
    except ValidationError as error:
        raise SpecError(path, [_line(problem) for problem in error.errors()]) from None
    if problems := _functions(home, spec):
        raise SpecError(path, problems)
    golden = _items(path, home, spec.gate.golden, spec, datasets, must_assert=False)
    must_pass = _items(path, home, spec.gate.must_pass, spec, datasets, must_assert=True)
    return SpecFile(path=path, folder=home, spec=spec, golden=golden, must_pass=must_pass)


def _over(own: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    """The file's own values over those below, also inside of a section such as ``gate.judge``."""
    nested = {
        key: _over(value, below[key])
        for key, value in own.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return {**below, **own, **nested}


def _merged(path: Path, depth: int = 0) -> tuple[dict[str, Any], Path]:
    """The file over what it extends; the folder is that of the outermost base, where the datasets are."""
    if depth > 5:
        raise SpecError(path, ["'extends' goes deeper than 5 files: is there a circle?"])
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(path, ["there is no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(path, [f"cannot be read: {error}"]) from None
    except yaml.YAMLError as error:
        raise SpecError(path, [f"is not YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(content, dict):
        raise SpecError(path, ["must be a mapping with name, version, template ..."])
    base = content.pop("extends", None)
    if base is None:
        return content, path.parent
    below, home = _merged((path.parent / str(base)).resolve(), depth + 1)
    return {**below, **content}, home


def _functions(home: Path, spec: PromptSpec) -> list[str]:
    """What is wrong with the user's functions; nothing of their files is run."""
    problems = []
    for place, one in enumerate(spec.gate.evaluators):
        if one.type == "function":
            try:
                find_function(home, one.function)
            except FunctionError as error:
                problems.append(f"gate.evaluators.{place}: {error}")
    return problems


def _items(
    path: Path, home: Path, name: str, spec: PromptSpec, datasets: Datasets | None, *, must_assert: bool
) -> tuple[GoldenItem, ...]:
    kept = kept_in_mlflow(name)
    if not name or (kept and datasets is None):
        return ()
    try:
        if kept and datasets is not None:
            return read_records(kept, datasets(kept), variables=spec.variables, must_assert=must_assert)
        return read_items(home / name, variables=spec.variables, must_assert=must_assert)
    except LookupError:
        raise SpecError(path, [f"{name}: MLflow has no dataset of this name"]) from None
    except DatasetError as error:
        raise SpecError(path, error.problems) from None


def _line(problem: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "there is no such field; is it misspelt?"
    if problem["type"] == "missing":
        message = "is missing"
    if problem["type"] == "model_type":
        message = "write its fields below it" + (", such as {mode: on}" if where.endswith("semantic") else "")
    if problem["type"] == "tuple_type":
        message = "write a list, such as [one, another]"
    return f"{where}: {message}" if where else message
