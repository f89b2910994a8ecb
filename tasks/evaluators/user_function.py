"""A function of the user's as evaluator: ``checks.py:polite`` beside the prompt.yaml.

It runs in a process of its own, without the keys of this one: what never ends is killed, what exits or crashes takes
nobody with it, and either is its item's error. The file lies in the spec's folder; nothing is loaded from elsewhere.
"""

import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.evaluators import function_host
from tasks.evaluators.base import Answered, Score
from tasks.specs.function_files import find_function

START_TIMEOUT = 30.0
"""Seconds that loading the file may take."""
MOST_DEATHS = 3
"""Items in a row whose process had to be killed, or died, before the others are not tried any more."""
_LONGEST_REPLY = 100_000
_SECRET = re.compile(r"^PROMPTYARD_|KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL", re.IGNORECASE)


class UserFunction:
    """An Evaluator. ``timeout`` seconds an answer. Raises FunctionError."""

    def __init__(self, folder: Path, reference: str, *, timeout: float = 10.0, name: str = "") -> None:
        self._file, self._function = find_function(folder, reference)
        self._timeout = timeout
        self.name = name or self._function
        self._digest = hashlib.sha256(self._file.read_bytes()).hexdigest()[:12]

    @property
    def version(self) -> str:
        return self._digest

    def score(self, answers: Sequence[Answered]) -> list[Score]:
        scores: list[Score] = []
        deaths = 0
        host: _Host | None = None
        try:
            for one in answers:
                if deaths >= MOST_DEATHS:
                    scores.append(_failed(self.name, f"not tried: {deaths} answers before it killed the function"))
                    continue
                try:
                    host = host or _Host(self._file, self._function)
                    reply = host.ask(_shown(one), self._timeout)
                    deaths = 0
                except _Dead as dead:
                    reply = {"error": str(dead)}
                    deaths += 1
                    if host is not None:
                        host.close()
                    host = None
                scores.append(_score(self.name, reply))
        finally:
            if host is not None:
                host.close()
        return scores


class _Dead(Exception):
    """The process took too long, or is gone."""


class _Host:
    """The process that runs the function. Raises _Dead when it cannot load the file in time."""

    def __init__(self, file: Path, function: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", function_host.__file__, str(file), function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=file.parent,
            env=environment,
            start_new_session=True,
        )
        try:
            loaded = self._read(START_TIMEOUT, "loading the file")
            if "error" in loaded:
                raise _Dead(f"the file cannot be loaded: {loaded['error']}")
        except _Dead:
            self.close()
            raise

    def ask(self, item: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """The verdict as the process wrote it. Raises _Dead."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        try:
            self._process.stdin.write(json.dumps(item).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise _Dead("the function's process is gone") from None
        return self._read(timeout, "the function")

    def _read(self, timeout: float, what: str) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        pipe = self._process.stdout.fileno()
        until = time.monotonic() + timeout
        line = b""
        while not line.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise _Dead(f"{what} took longer than {timeout:g} s")
            piece = os.read(pipe, 65_536)
            if not piece:
                raise _Dead(f"{what} ended its process")
            line += piece
            if len(line) > _LONGEST_REPLY:
                raise _Dead(f"{what} wrote more than a verdict")
        try:
            reply = json.loads(line)
        except ValueError:
            raise _Dead(f"{what} wrote what is no verdict") from None
        return reply if isinstance(reply, dict) else {"error": "wrote what is no verdict"}

    def close(self) -> None:
        """Kill the process with all that it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _shown(one: Answered) -> dict[str, Any]:
    return {
        "question": one.question,
        "variables": dict(one.variables),
        "answer": one.answer,
        "reference": one.reference,
        "documents": one.documents,
        "tags": list(one.tags),
        "cost_usd": one.cost_usd,
        "latency_ms": one.latency_ms,
        "repeat": one.repeat,
    }


def _score(name: str, reply: Mapping[str, Any]) -> Score:
    if "error" in reply:
        return _failed(name, str(reply["error"]))
    value = reply.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        return _failed(name, "gave no number in [0, 1]")
    return Score(float(value), str(reply.get("reason", "")))


def _failed(name: str, why: str) -> Score:
    return Score(None, f"{name}: {why}", failed=True)
