"""What a look at mirrored calls saw, for people: rows of a table, metrics by name. Pure, from a step's evidence."""

import math
from collections.abc import Mapping
from typing import Any


def mirror_rows(mirror: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each metric of ``evidence["mirror"]``."""
    return [
        {
            "metric": one["metric"],
            "candidate": one["candidate_mean"],
            "stable": one["stable_mean"],
            "pairs": one["pairs"],
            "lost": one["losses"],
            "won": one["wins"],
            "times as much (median)": one["median_ratio"],
            "e-value worse": e_value(one["log_e_max"]),
            "refused at": e_value(one["log_threshold"]) if one["decides"] else None,
        }
        for one in mirror["decision"]["metrics"]
    ]


def mirror_metrics(mirror: Mapping[str, Any]) -> dict[str, float]:
    """Numbers by name, all of them starting with ``mirror_``."""
    found = {"mirror_pairs": float(mirror["decision"]["pairs"])}
    for one in mirror["decision"]["metrics"]:
        for key in ("candidate_mean", "stable_mean", "losses", "wins", "log_e_max"):
            if one[key] is not None:
                found[f"mirror_{one['metric']}_{key}"] = float(one[key])
    return found | {f"mirror_{name}": float(value) for name, value in mirror["described"].items() if value is not None}


def e_value(log_e: float) -> float:
    """From its logarithm, to six digits."""
    return float(f"{math.exp(min(log_e, 700.0)):.6g}")
