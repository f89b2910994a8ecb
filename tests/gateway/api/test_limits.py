"""Limits and budgets as a caller meets them: 429 in the API's own words, money that is kept, events that are left."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
from sqlalchemy import select

from gateway.auth.keys import create_key
from gateway.ledger.spent import spent_on
from gateway.storage.engine import reading
from gateway.storage.models import CallRow, OutboxRow
from gateway.types import KeyLimits
from tests.gateway.api.conftest import Shop
from tests.gateway_stack import Stack, prompt_version, unique, until

pytestmark = pytest.mark.integration

TEMPLATE = ({"role": "user", "content": "{{question}}"},)


@contextmanager
def caller(stack: Stack, tenant: str, limits: KeyLimits) -> Iterator[httpx.Client]:
    plain, _ = create_key(stack.engine, stack.clock, tenant, "limited", ["chat"], limits)
    with stack.http(plain) as http:
        yield http


def ask(http: httpx.Client, model: str = "gpt-4.1-mini", **more: object) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": unique("question")}], "max_tokens": 100, **more}
    return http.post("/v1/chat/completions", json=body)


def test_requests_beyond_the_limit_are_429(shop: Shop) -> None:
    with caller(shop.stack, shop.tenant, KeyLimits(requests_per_minute=3)) as http:
        answers = [ask(http) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert answers[3].json()["error"]["code"] == "rate_limited"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 20


def test_the_sdk_knows_it_as_a_rate_limit(shop: Shop) -> None:
    plain, _ = create_key(shop.stack.engine, shop.stack.clock, shop.tenant, "sdk", ["chat"], KeyLimits(1))
    with shop.stack.openai(plain) as client:
        client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "Hi"}])
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "Hi"}])


def test_cached_answers_use_no_tokens(shop: Shop) -> None:
    with caller(shop.stack, shop.tenant, KeyLimits(tokens_per_minute=250)) as http:
        same: dict[str, Any] = {"messages": [{"role": "user", "content": unique("same")}], "temperature": 0}
        assert [ask(http, **same).status_code for _ in range(10)] == [200] * 10
        assert [ask(http).status_code for _ in range(10)][-1] == 429
        assert ask(http, **same).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_never_spends_more_than_its_budget(shop: Shop, stream: bool) -> None:
    budget, stack = 0.002, shop.stack
    with caller(stack, shop.tenant, KeyLimits(daily_budget_usd=budget)) as http, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: ask(http, stream=stream), range(100)))
    refused = [one for one in answers if one.status_code != 200]
    assert 0 < len(refused) < 100
    assert {(one.status_code, one.json()["error"]["code"]) for one in refused} == {(429, "budget_exhausted")}
    stack.ship()
    with reading(stack.engine) as session:
        [key_id] = session.scalars(select(CallRow.key_id).where(CallRow.tenant == shop.tenant).distinct())
    today = datetime.fromtimestamp(stack.clock.now(), UTC).date()
    spent = spent_on(stack.engine, shop.tenant, today, key_id=key_id)
    assert Decimal(str(budget)) / 2 < spent <= Decimal(str(budget))


def test_a_prompts_budget_is_one_for_all_keys_and_people_hear_of_it(stack: Stack) -> None:
    tenant, prompt = unique("tenant"), unique("poor")
    stack.add(prompt_version(tenant, prompt, retrieval=None, template=TEMPLATE, daily_budget_usd=1e-8))
    with stack.http(stack.key(tenant)) as http:
        body = {"model": f"prompt:{prompt}", "variables": {"question": "Why?"}}
        refused = http.post("/v1/chat/completions", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exhausted")
    assert int(refused.headers["retry-after"]) > 1

    def events() -> list[OutboxRow]:
        with reading(stack.engine) as session:
            return [row for row in session.scalars(select(OutboxRow)) if row.payload.get("name") == prompt]

    until("there is an event", events)
    [event] = events()
    assert (event.event, event.payload["level"]) == ("promptyard.limit.reached", "reached")
    with stack.http() as http:
        assert 'promptyard_limit_reached_total{kind="prompt_budget",level="reached"}' in http.get("/metrics").text
