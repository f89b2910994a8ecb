import asyncio
from collections import Counter
from typing import Any

import pytest

from deployments.traffic.plan import Question, TrafficPlan, turns
from deployments.traffic.player import play
from deployments.traffic.report import TrafficReport
from tests.deployments.traffic.scripted_gateway import ScriptedGateway, answered, refused, serve

POOL = tuple(Question(f"q{number}", f"Question {number}?", expect=("30 days",)) for number in range(20))


def plan(gateway: ScriptedGateway, **changes: Any) -> TrafficPlan:
    values: dict[str, Any] = {"base_url": gateway.url, "key": "py_key", "prompt": "help", "pool": POOL, "timeout": 5.0}
    return TrafficPlan(**(values | changes))


async def test_every_turn_is_asked_as_an_application_would() -> None:
    async with serve(ScriptedGateway()) as gateway:
        wanted = plan(gateway, requests=60, users=10, workers=4, feedback_share=0.0)
        report = await play(wanted)
    assert Counter(gateway.questions) == Counter((turn.user, turn.question.text) for turn in turns(wanted))
    assert {body["model"] for body in gateway.asked} == {"prompt:help"}
    assert gateway.keys == {"Bearer py_key"}
    assert (report.requests, report.answers, report.count("version")) == (60, 60, {"1.0.0": 60})
    assert report.cost_usd() == pytest.approx(0.06)
    assert 1 < gateway.most_in_flight <= 4


async def test_users_say_who_they_are_where_the_plan_says_so() -> None:
    async with serve(ScriptedGateway()) as gateway:
        wanted = plan(gateway, requests=20, workers=1, contexts={"plan": ("free", "pro")})
        await play(wanted)
        await play(plan(gateway, requests=1))
    assert [body.get("metadata") for body in gateway.asked] == [*(turn.context for turn in turns(wanted)), None]


async def test_one_worker_asks_in_the_order_of_the_plan() -> None:
    async with serve(ScriptedGateway()) as gateway:
        wanted = plan(gateway, requests=30, users=5, workers=1, seed=3)
        await play(wanted)
    assert gateway.questions == [(turn.user, turn.question.text) for turn in turns(wanted)]


async def test_feedback_says_whether_the_answer_was_right() -> None:
    def script(number: int, _: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return answered(number, "Within 30 days." if number % 2 else "No idea, sorry.")

    async with serve(ScriptedGateway(script)) as gateway:
        report = await play(plan(gateway, requests=20, workers=1, feedback_share=1.0))
    assert {(one["call_id"], one["value"]) for one in gateway.feedback} == {(f"call_{n}", n % 2) for n in range(20)}
    assert {one["metric"] for one in gateway.feedback} == {"helpful"}
    assert (report.feedback, report.feedback_failed) == (20, 0)
    assert report.right_by()["1.0.0"]["all"].right == 10


async def test_feedback_that_is_not_taken_is_counted() -> None:
    async with serve(ScriptedGateway(feedback_status=503)) as gateway:
        report = await play(plan(gateway, requests=5, feedback_share=1.0))
    assert (report.answers, report.feedback, report.feedback_failed) == (5, 0, 5)


async def test_errors_are_counted_by_the_gateways_code_and_not_tried_again() -> None:
    def script(number: int, _: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if number % 3 == 0:
            return refused(503, "overloaded")
        return (500, {"nothing": "known"}) if number % 3 == 1 else answered(number, "Within 30 days.")

    async with serve(ScriptedGateway(script)) as gateway:
        report = await play(plan(gateway, requests=9, workers=1, feedback_share=1.0))
    assert len(gateway.asked) == 9
    assert report.errors() == {"overloaded": 3, "http_500": 3}
    assert len(gateway.feedback) == report.answers == 3


async def test_an_answer_that_is_none_is_an_error_and_ends_nothing() -> None:
    async with serve(ScriptedGateway(lambda number, _: (200, {"id": f"call_{number}", "choices": []}))) as gateway:
        report = await play(plan(gateway, requests=4, workers=2))
    assert report.requests == 4


async def test_stop_lets_calls_in_flight_come_back_and_begins_no_more() -> None:
    stop = asyncio.Event()

    def script(number: int, _: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if number == 9:
            stop.set()
        return answered(number, "Within 30 days.")

    async with serve(ScriptedGateway(script)) as gateway:
        report = await play(plan(gateway, requests=100_000, users=50, workers=4), stop=stop)
    assert 10 <= report.requests <= 14
    assert report.answers == len(gateway.asked) == report.requests


async def test_stop_is_not_kept_waiting_by_a_slow_rate() -> None:
    stop = asyncio.Event()
    async with serve(ScriptedGateway()) as gateway, asyncio.timeout(10):
        report = await play(
            plan(gateway, requests=10, rate=0.001, workers=2), stop=stop, on_progress=lambda _: stop.set()
        )
    assert report.requests == 1  # the next one would be due in 1,000 s


async def test_a_duration_ends_a_play_before_its_next_call_is_due() -> None:
    async with serve(ScriptedGateway()) as gateway, asyncio.timeout(10):
        report = await play(plan(gateway, requests=10, rate=0.001, duration=0.05, workers=2))
    assert report.requests <= 1


async def test_progress_comes_after_every_call() -> None:
    seen: list[int] = []

    def note(report: TrafficReport) -> None:
        seen.append(report.requests)

    async with serve(ScriptedGateway()) as gateway:
        await play(plan(gateway, requests=12, workers=1), on_progress=note)
    assert seen == list(range(1, 13))


async def test_a_gateway_that_is_gone_is_counted_not_raised() -> None:
    async with serve(ScriptedGateway()) as gateway:
        pass
    stop = asyncio.Event()
    report = await play(plan(gateway, requests=100, workers=1), stop=stop, on_progress=lambda _: stop.set())
    assert report.errors() == {"unreachable": 1}
