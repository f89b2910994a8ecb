"""Plays a plan against a gateway with the official OpenAI SDK. Bounded in calls, in flight and in time per call."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI, DefaultAioHttpClient

from deployments.traffic.plan import TrafficPlan, Turn, turns
from deployments.traffic.report import Outcome, TrafficReport, is_right

OnProgress = Callable[[TrafficReport], None]


async def play(
    plan: TrafficPlan, *, on_progress: OnProgress = lambda report: None, stop: asyncio.Event | None = None
) -> TrafficReport:
    """All calls of the plan, or those until ``stop`` is set. Errors are counted, never raised."""
    report = TrafficReport()
    waiting = turns(plan)
    begun = time.monotonic()
    stop = stop or asyncio.Event()
    async with (
        AsyncOpenAI(
            base_url=f"{plan.base_url.rstrip('/')}/v1",
            api_key=plan.key,
            max_retries=0,
            timeout=plan.timeout,
            http_client=DefaultAioHttpClient(),
        ) as client,
        httpx.AsyncClient(
            base_url=plan.base_url, headers={"Authorization": f"Bearer {plan.key}"}, timeout=plan.timeout
        ) as side,
    ):

        async def work() -> None:
            for turn in _paced(waiting, stop):
                if plan.rate > 0:
                    due = begun + turn.number / plan.rate
                    if await _stopped_before(stop, due - time.monotonic()):
                        return
                outcome, call_id = await _ask(client, plan, turn)
                report.add(outcome)
                report.seconds = time.monotonic() - begun
                if turn.feedback and call_id and outcome.right is not None:
                    await _say_what_they_thought(side, report, call_id, outcome.right)
                on_progress(report)

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
            extra_body={"variables": {plan.variable: question.text}},
        )
    except APIStatusError as error:
        return Outcome(question.kind, _since(begun), error=_code(error)), ""
    except APITimeoutError:
        return Outcome(question.kind, _since(begun), error="timeout"), ""
    except APIConnectionError:
        return Outcome(question.kind, _since(begun), error="unreachable"), ""
    text = answer.choices[0].message.content or ""
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
            "/v1/feedback", json={"call_id": call_id, "metric": "helpful", "value": 1.0 if right else 0.0}
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
