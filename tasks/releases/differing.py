"""Where two pieces of JSON differ, in words. Pure."""

import math
from collections.abc import Mapping
from typing import Any


def unequal(was: Any, now: Any, path: str = "") -> str:
    """Where two pieces of JSON differ, what only ``now`` has aside; empty when they agree. Floats to 1 in 10⁹."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        return next((found for key in was if (found := unequal(was[key], now.get(key), _path(path, key)))), "")
    if isinstance(was, list | tuple) and isinstance(now, list | tuple):
        if len(was) != len(now):
            return f"{path} has {len(now)} entries, not {len(was)}"
        return next((found for i, one in enumerate(was) if (found := unequal(one, now[i], _path(path, str(i))))), "")
    if isinstance(was, float | int) and isinstance(now, float | int) and not isinstance(was, bool):
        return "" if math.isclose(was, now, rel_tol=1e-9, abs_tol=1e-12) else f"{path} is {now:g}, not {was:g}"
    return "" if was == now else f"{path} is {now!r}, not {was!r}"


def _path(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
