"""The drawings of a release: what is in them, that they are valid files of their own, that nothing leaves them."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway.storage.models import ReleaseRow
from tasks.certificates.charts import E_VALUES, MOST_POINTS, SHARES, WORTH, one_picture, release_charts
from tasks.certificates.drawing import WIDTH, round_ticks
from tasks.certificates.record import certificate
from tests.tasks.releases.yard import Yard

SVG = "{http://www.w3.org/2000/svg}"


def rail(metric: str, users: int, worse: float, not_worse: float) -> dict[str, Any]:
    limits = {"rolls_back_at": 40.0, "promotes_at": 20.0}
    return {"metric": metric, "blocks": users, "e_worse": worse, "e_not_worse": not_worse, **limits}


def told(minute: int, what: str, share: float, *rails: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": f"2026-01-01 {minute // 60:02}:{minute % 60:02}:00 UTC",
        "what": what,
        "share_percent": share,
        "guardrails": list(rails),
    }


BUSINESS = {
    "gain_per_1000_calls": {"mean": -40.0, "lower": -90.0, "upper": 10.0},
    "probability_of_loss": 0.93,
    "gain_spread": {"from": -120.0, "to": 40.0, "shares": [0.1, 0.4, 0.4, 0.1]},
}
STEPS = [
    told(0, "gated", 0),
    told(1, "started", 10),
    told(5, "held", 10, rail("quality", 8, 1.5, 1.0), rail("<failure>", 9, 1.0, 3.0)),
    told(9, "advanced", 50, rail("quality", 20, 9.0, 1.0), rail("<failure>", 21, 1.0, 8.0)),
    told(20, "rolled_back", 0, rail("quality", 61, 1e30, 1.0), rail("<failure>", 60, 1.0, 19.0)),
]


def words(picture: str) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(picture).iter(f"{SVG}text")]  # noqa: S314 - our own text


def test_one_file_shows_evidence_shares_and_worth() -> None:
    picture = one_picture("help 1.1.0", release_charts(STEPS, BUSINESS))
    said = words(picture)
    assert [one for one in said if one.startswith("help 1.1.0")] == [
        "help 1.1.0: evidence by user",
        "help 1.1.0: share of the users",
        "help 1.1.0: gain per 1,000 calls",
    ]
    assert {"quality", "<failure>", "promotes at 20", "rolls back at 40"} <= set(said)
    assert {"10 %", "50 %", "0 %", "minutes since the canary began", "P(it loses money) = 93 %"} <= set(said)


def test_every_line_stays_in_its_panel() -> None:
    for one in release_charts(STEPS, BUSINESS).values():
        for points in re.findall(r'points="([^"]+)"', one.body):
            places = [tuple(map(float, place.split(","))) for place in points.split()]
            assert all(0 <= x <= WIDTH and 0 <= y <= one.height for x, y in places)
        for x in re.findall(r'<rect x="([^"]+)"', one.body):
            assert 0 <= float(x) <= WIDTH


def test_an_e_value_that_grew_further_ends_higher() -> None:
    body = release_charts(STEPS, None)[E_VALUES].body
    ends = [float(points.split()[-1].split(",")[1]) for points in re.findall(r'points="([^"]+)"', body)]
    quality_worse, quality_not_worse, failure_worse, failure_not_worse = ends
    assert quality_worse < failure_not_worse < quality_not_worse == failure_worse, "down is more in SVG"


@pytest.mark.parametrize(
    ("steps", "business", "expected"),
    [
        ([], None, []),
        (STEPS[:1], None, []),
        (STEPS[:2], None, [SHARES]),
        (STEPS[:3], None, [E_VALUES, SHARES]),
        (STEPS, {"gain_per_1000_calls": {}}, [E_VALUES, SHARES]),
        (STEPS, BUSINESS, [E_VALUES, SHARES, WORTH]),
    ],
)
def test_what_is_not_known_is_not_drawn(steps: list[Any], business: Any, expected: list[str]) -> None:
    assert list(release_charts(steps, business)) == expected


def test_thousands_of_looks_are_thinned_out_and_the_last_stays() -> None:
    many = [STEPS[1], *(told(n % 1440, "held", 10, rail("quality", n, 1.0, 1.0 + n / 1e3)) for n in range(1, 5_001))]
    lines = re.findall(r'points="([^"]+)"', release_charts(many, None)[E_VALUES].body)
    assert all(len(line.split()) <= MOST_POINTS + 1 for line in lines)
    assert float(lines[0].split()[-1].split(",")[0]) == pytest.approx(40 + WIDTH / 2 - 56)


def test_the_record_of_a_release_can_be_drawn(yard: Yard, promoted: ReleaseRow) -> None:
    record = certificate(yard.engine, promoted.id)
    assert list(release_charts(record["steps"], record["business"])) == [E_VALUES, SHARES]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-3.5, 1, [-3, -2, -1, 0, 1]), (5, 5, [5]), (0, 0.04, [0, 0.01, 0.02, 0.03, 0.04])],
)
def test_round_ticks(low: float, high: float, expected: list[float]) -> None:
    assert round_ticks(low, high) == pytest.approx(expected)
