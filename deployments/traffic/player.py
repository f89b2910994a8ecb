"""Plays a plan against a gateway with the official OpenAI SDK. Bounded in calls, in flight and in time per call."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    DefaultAioHttpClient,
    OpenAIError,
    omit,
)

from deployments.traffic.plan import TrafficPlan, Turn, turns
from deployments.traffic.report import Outcome, TrafficReport, is_right

OnProgress = Callable[[TrafficReport], None]
UNREACHABLE = "unreachable"
PAUSE_WHEN_UNREACHABLE = 0.5
"""Seconds: a gateway that is down is not asked in a tight loop."""


async def play(
    plan: TrafficPlan, *, on_progress: OnProgress = lambda report: None, stop: asyncio.Event | None = None
) -> TrafficReport:
    """All calls of the plan, or those until its duration is over or ``stop`` is set. Errors are counted, never raised.

    ``on_progress`` is called after every call, always with the same report, which grows.
    """
    report = TrafficReport()
    waiting = turns(plan)
    stop = stop or asyncio.Event()
    async with (
        AsyncOpenAI(
            base_url=plan.api_url,
            api_key=plan.key,
            max_retries=0,
            timeout=plan.timeout,
            http_client=DefaultAioHttpClient(),
        ) as client,
        httpx.AsyncClient(
            base_url=plan.api_url, headers={"Authorization": f"Bearer {plan.key}"}, timeout=plan.timeout
        ) as side,
    ):
        begun = time.monotonic()  # opening a client takes its time, which is not the gateway's
        until = begun + plan.duration if plan.duration > 0 else float("inf")

        async def work() -> None:
            for turn in _paced(waiting, stop):
                due = begun + turn.number / plan.rate if plan.rate > 0 else 0.0
                if await _ended_before(stop, due, until):
                    return
                outcome, call_id = await _ask(client, plan, turn)
                report.add(outcome)
                report.seconds = time.monotonic() - begun
                if turn.feedback and call_id and outcome.right is not None:
                    await _say_what_they_thought(side, report, call_id, outcome.right)
                on_progress(report)
                if outcome.error == UNREACHABLE:
                    await _stopped_before(stop, PAUSE_WHEN_UNREACHABLE)

        await asyncio.gather(*(work() for _ in range(max(1, plan.workers))))
    report.seconds = time.monotonic() - begun
    return report


def _paced(waiting: Iterator[Turn], stop: asyncio.Event) -> Iterator[Turn]:
    """The workers take turns from one queue until it is empty or the play is stopped."""
    while not stop.is_set():
        turn = next(waiting, None)
        if turn is None:
            return
        yield turn


async def _ended_before(stop: asyncio.Event, due: float, until: float) -> bool:
    """Wait for a call's time; whether the play is over by then."""
    stopped = await _stopped_before(stop, min(due, until) - time.monotonic())
    return stopped or time.monotonic() >= until


async def _stopped_before(stop: asyncio.Event, seconds: float) -> bool:
    if seconds <= 0:
        return stop.is_set()
    try:
        async with asyncio.timeout(seconds):
            return await stop.wait()
    except TimeoutError:
        return False


async def _ask(client: AsyncOpenAI, plan: TrafficPlan, turn: Turn) -> tuple[Outcome, str]:
    begun = time.monotonic()
    question = turn.question
    try:
        answer = await client.chat.completions.create(
            model=f"prompt:{plan.prompt}",
            messages=[],
            user=turn.user,
            metadata=dict(turn.context) or omit,
            extra_body={"variables": {plan.variable: question.text}},
        )
    except APIStatusError as error:
        return Outcome(question.kind, _since(begun), error=_code(error)), ""
    except APITimeoutError as error:
        # The SDK's aiohttp transport tells a refused connection as a connect time-out.
        refused = type(error.__cause__).__name__ == "ConnectTimeout"
        return Outcome(question.kind, _since(begun), error=UNREACHABLE if refused else "timeout"), ""
    except APIConnectionError:
        return Outcome(question.kind, _since(begun), error=UNREACHABLE), ""
    except OpenAIError:
        return Outcome(question.kind, _since(begun), error="unreadable"), ""
    text = (answer.choices[0].message.content or "") if answer.choices else ""
    facts: dict[str, Any] = (answer.model_extra or {}).get("promptyard") or {}
    outcome = Outcome(
        kind=question.kind,
        latency_ms=_since(begun),
        version=facts.get("version") or "",
        arm=facts.get("arm") or "",
        layer=(facts.get("cache") or {}).get("layer") or "",
        provider=facts.get("provider") or "",
        right=is_right(question, text),
        cost_usd=facts.get("cost_usd"),
    )
    return outcome, answer.id


async def _say_what_they_thought(side: httpx.AsyncClient, report: TrafficReport, call_id: str, right: bool) -> None:
    try:
        answer = await side.post(
            "/feedback", json={"call_id": call_id, "metric": "helpful", "value": 1.0 if right else 0.0}
        )
        taken = answer.status_code == 202
    except httpx.HTTPError:
        taken = False
    report.feedback += taken
    report.feedback_failed += not taken


def _code(error: APIStatusError) -> str:
    body = error.body
    code = body.get("code") if isinstance(body, dict) else None
    return str(code or f"http_{error.status_code}")


def _since(begun: float) -> float:
    return (time.monotonic() - begun) * 1000
