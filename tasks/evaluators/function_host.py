"""Runs a user's function in a process of its own: an item a line in, a verdict a line out. Nothing of the package.

    python -I function_host.py FILE FUNCTION

A verdict is ``{"value": share, "reason": text}`` or ``{"error": text}``. The first line says that the file is loaded.
What the function prints is lost; its folder stands last on ``sys.path``, so that it may import what is beside.
"""

import importlib.util
import json
import math
import os
import sys
from typing import Any


def verdict(returned: Any) -> dict[str, Any]:
    """What a function may return: a share, a truth, (share, reason), or a mapping with ``score`` and ``reason``."""
    value, reason = returned, ""
    if isinstance(returned, tuple) and len(returned) == 2:
        value, reason = returned
    elif isinstance(returned, dict):
        value, reason = returned.get("score"), returned.get("reason", "")
    try:
        share = float(value)
    except (TypeError, ValueError):
        return {"error": f"returned {type(value).__name__}, not a number in [0, 1]"}
    if not (math.isfinite(share) and 0.0 <= share <= 1.0):
        return {"error": f"returned {share!r}, which is not in [0, 1]"}
    return {"value": share, "reason": str(reason)[:2000]}


def load(file: str, name: str) -> Any:
    """The function. Raises whatever the file raises."""
    sys.path.append(os.path.dirname(file))
    spec = importlib.util.spec_from_file_location("promptyard_user_function", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:2000]


def serve(file: str, name: str) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the function prints must not look like a verdict
    try:
        function = load(file, name)
    except BaseException as error:
        print(json.dumps({"error": said(error)}), file=answers, flush=True)
        return
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer = verdict(function(json.loads(line)))
        except BaseException as error:
            answer = {"error": said(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:3])
