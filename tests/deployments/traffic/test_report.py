import json
from typing import Any

import pytest

from deployments.traffic.plan import Question
from deployments.traffic.report import Outcome, Rightness, TrafficReport, is_right


def outcome(**changes: Any) -> Outcome:
    values: dict[str, Any] = {"kind": "plain", "latency_ms": 10.0, "version": "1.0.0", "layer": "none", "right": True}
    return Outcome(**(values | changes))


def report(*outcomes: Outcome) -> TrafficReport:
    found = TrafficReport(seconds=2.0)
    for one in outcomes:
        found.add(one)
    return found


ANSWERABLE = Question("q", "When?", expect=("30 days", "€9"))
UNANSWERABLE = Question("q", "Why?", answerable=False)


@pytest.mark.parametrize(
    ("question", "answer", "right"),
    [
        (ANSWERABLE, "Within 30 DAYS, for €9.", True),
        (ANSWERABLE, "Within 30 days.", False),
        (ANSWERABLE, "Within 30 [doc:returns] days, for €9.", True),
        (UNANSWERABLE, "I don't know.", True),
        (UNANSWERABLE, "Because of the moon.", False),
    ],
)
def test_what_is_right(question: Question, answer: str, right: bool) -> None:
    assert is_right(question, answer) is right


def test_right_answers_by_version_and_kind() -> None:
    found = report(
        outcome(kind="typo"),
        outcome(kind="plain", right=False),
        outcome(version="1.1.0"),
        outcome(error="overloaded", right=None),
    ).right_by()
    assert found == {
        "1.0.0": {"all": Rightness(1, 2), "plain": Rightness(0, 1), "typo": Rightness(1, 1)},
        "1.1.0": {"all": Rightness(1, 1), "plain": Rightness(1, 1)},
    }
    assert list(found["1.0.0"]) == ["all", "plain", "typo"]


def test_errors_are_no_answers_and_have_no_say_in_latency() -> None:
    found = report(*(outcome(latency_ms=float(n)) for n in range(1, 101)), outcome(latency_ms=9e9, error="timeout"))
    assert (found.requests, found.answers, found.rate) == (101, 100, 50.5)
    assert [found.latency_ms(share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert found.errors() == {"timeout": 1}


def test_hits_are_what_no_model_was_asked_for() -> None:
    found = report(outcome(layer="exact"), outcome(layer="coalesced"), outcome(), outcome(error="timeout", layer=""))
    assert found.hit_rate == pytest.approx(2 / 3)
    assert report().hit_rate is None


def test_an_unknown_price_makes_the_sum_unknown() -> None:
    assert report(outcome(cost_usd=0.25), outcome(cost_usd=0.5)).cost_usd() == 0.75
    assert report(outcome(cost_usd=0.25), outcome(cost_usd=None)).cost_usd() is None


def test_machines_can_read_it() -> None:
    plain = json.loads(json.dumps(report(outcome(), outcome(error="timeout", right=None)).to_json()))
    assert (plain["requests"], plain["answers"], plain["errors"]) == (2, 1, {"timeout": 1})
    assert plain["right"] == {"1.0.0": {"all": {"right": 1, "answers": 1}, "plain": {"right": 1, "answers": 1}}}
