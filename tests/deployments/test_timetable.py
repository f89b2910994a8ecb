"""The timetable as a whole: what runs again and again does not start all at once."""

from datetime import datetime
from itertools import combinations
from math import gcd
from pathlib import Path
from typing import Any

import yaml

TIMETABLE = Path(__file__).parents[2] / "deployments" / "prefect.yaml"


def intervals() -> list[tuple[str, int, float]]:
    """Name, interval and anchor (both in seconds) of every deployment that runs by interval."""
    content: dict[str, Any] = yaml.safe_load(TIMETABLE.read_text(encoding="utf-8"))
    return [
        (one["name"], schedule["interval"], datetime.fromisoformat(schedule["anchor_date"]).timestamp())
        for one in content["deployments"]
        for schedule in one.get("schedules", [])
        if "interval" in schedule
    ]


def test_no_two_start_within_ten_seconds_of_each_other() -> None:
    found = intervals()
    assert len(found) >= 3
    for (one, every, anchor), (other, other_every, other_anchor) in combinations(found, 2):
        apart = (anchor - other_anchor) % gcd(every, other_every)
        assert 10 <= apart <= gcd(every, other_every) - 10, (one, other)
