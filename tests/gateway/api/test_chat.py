"""``/v1/chat``: turns of a conversation, held by the caller or here."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from gateway.conversations import store
from gateway.storage.engine import reading, writing
from gateway.storage.models import TurnRow
from gateway.types import Message, Variable
from tests.databases import out_of_reach
from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway.api.sse import events
from tests.gateway_stack import Stack, gateway_stack, prompt_version, unique, until

pytestmark = pytest.mark.integration

ASKED: Message = {"role": "user", "content": "When do parcels arrive?"}
OLD: list[Message] = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "How can I help?"}]


def chat(shop: Shop, *messages: Message, **more: Any) -> httpx.Response:
    return shop.http.post("/v1/chat", json={"prompt": shop.prompt, "messages": list(messages), **more})


def say(shop: Shop, text: str, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = chat(shop, {"role": "user", "content": text}, **more).raise_for_status().json()
    return answer


def held(shop: Shop, conversation: str, **query: int) -> list[list[Message]]:
    body = shop.http.get(f"/v1/conversations/{conversation}", params=query).raise_for_status().json()
    assert body["id"] == conversation
    return [turn["messages"] for turn in body["turns"]]


def rows(shop: Shop) -> list[TurnRow]:
    with reading(shop.stack.engine) as session:
        return list(session.scalars(select(TurnRow).where(TurnRow.tenant == shop.tenant).order_by(TurnRow.seq)))


def test_the_last_message_is_the_question_and_grounds_the_answer(shop: Shop) -> None:
    body = chat(shop, *OLD, ASKED).raise_for_status().json()
    assert "three days" in body["text"]
    assert body["conversation"] is None
    assert body["promptyard"]["documents"] == [f"doc:{shop.prompt}/shipping@1"]
    alone = chat(shop, ASKED).raise_for_status().json()
    assert body["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"]


def test_what_was_said_before_is_part_of_the_cache_key(shop: Shop) -> None:
    first = chat(shop, *OLD, ASKED).json()["promptyard"]["cache"]["layer"]
    alone = chat(shop, ASKED).json()["promptyard"]["cache"]["layer"]
    again = chat(shop, *OLD, ASKED).json()["promptyard"]["cache"]["layer"]
    assert (first, alone, again) == ("none", "none", "exact")


def test_a_prompt_of_instructions_only_gets_the_messages_after_it(shop: Shop) -> None:
    template = ({"role": "system", "content": "Answer from the context.\n\nContext:\n{{context}}"},)
    plain = prompt_version(
        shop.tenant, shop.prompt, "2.0.0", template=template, retrieval=None, variables=(Variable("context"),)
    )
    shop.stack.add(plain)
    body = chat(shop, *OLD, ASKED, variables={"context": "Parcels arrive within nine days."})
    assert "nine days" in body.raise_for_status().json()["text"]


def test_a_conversation_is_held_here(shop: Shop) -> None:
    first = say(shop, "When do parcels arrive?", keep=True)
    told = first["conversation"]
    assert told == {"id": told["id"], "turn": 1, "kept": True, "turns_sent": 0, "turns_dropped": 0}
    second = say(shop, "And to Norway?", conversation=told["id"])
    assert second["conversation"] == told | {"turn": 2, "turns_sent": 1}
    said = [{"role": "user", "content": "When do parcels arrive?"}, {"role": "assistant", "content": first["text"]}]
    assert second["usage"]["prompt_tokens"] > say(shop, "And to Norway?")["usage"]["prompt_tokens"]
    again = [{"role": "user", "content": "And to Norway?"}, {"role": "assistant", "content": second["text"]}]
    assert held(shop, told["id"]) == [said, again]
    assert held(shop, told["id"], limit=1) == [again]
    assert held(shop, told["id"], before=2) == [said]


def test_a_variable_is_a_turn_too(shop: Shop) -> None:
    body = chat(shop, variables={"question": "When?"}, conversation="new").raise_for_status().json()
    [[first, _]] = held(shop, body["conversation"]["id"])
    assert first == {"role": "user", "content": "When?"}


def test_a_stream_keeps_its_turn_before_its_last_byte(shop: Shop) -> None:
    *_, (name, answer) = events(chat(shop, ASKED, keep=True, stream=True))
    assert (name, answer["conversation"]["kept"]) == ("answer", True)
    assert held(shop, answer["conversation"]["id"]) == [[ASKED, {"role": "assistant", "content": answer["text"]}]]


def test_what_failed_was_not_said(shop: Shop) -> None:
    conversation = say(shop, "When?", keep=True)["conversation"]["id"]
    with shop.stack.simulator.faults({"error_rate": 1, "error_status": 400}):
        assert chat(shop, ASKED, conversation=conversation).status_code >= 400
        assert chat(shop, ASKED, keep=True).status_code >= 400
    with shop.stack.simulator.faults({"cut_after_chunks": 5}):
        assert events(chat(shop, ASKED, conversation=conversation, stream=True))[-1][0] == "error"
    assert [row.seq for row in rows(shop)] == [1]
    assert say(shop, "And now?", conversation=conversation)["conversation"]["turn"] == 2


def test_nothing_said_is_no_turn(shop: Shop) -> None:
    response = chat(shop, keep=True)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    assert not rows(shop)


async def test_of_two_turns_at_once_one_is_refused_before_it_costs_anything(shop: Shop) -> None:
    conversation = say(shop, "When?", keep=True)["conversation"]["id"]
    asked = shop.stack.simulator.calls()
    body = {"prompt": shop.prompt, "conversation": conversation, "personal": True}
    headers = {"authorization": f"Bearer {shop.key}"}

    async def turn(text: str) -> int:
        message = {"role": "user", "content": text}
        response = await client.post("/v1/chat", json={**body, "messages": [message]})
        return response.status_code

    with shop.stack.simulator.faults({"latency_ms": 300}):
        async with httpx.AsyncClient(base_url=shop.stack.url, headers=headers, timeout=30) as client:
            assert sorted(await asyncio.gather(*map(turn, ("One?", "Two?", "Three?")))) == [200, 409, 409]
    assert shop.stack.simulator.calls() == asked + 1
    assert [row.seq for row in rows(shop)] == [1, 2]


def test_a_caller_who_leaves_gives_the_turn_back(shop: Shop) -> None:
    conversation = say(shop, "When?", keep=True)["conversation"]["id"]
    body = {"prompt": shop.prompt, "messages": [ASKED], "conversation": conversation, "stream": True, "personal": True}
    slow = shop.stack.simulator.faults({"latency_ms": 20_000, "first_token_ms": 0})
    with slow, shop.http.stream("POST", "/v1/chat", json=body) as response:
        assert next(response.iter_lines())
    until("the claim is given back", lambda: len(rows(shop)) == 1)
    assert say(shop, "And now?", conversation=conversation)["conversation"]["turn"] == 2


def test_a_retry_with_an_idempotency_key_adds_one_turn(shop: Shop) -> None:
    body = {"prompt": shop.prompt, "messages": [ASKED], "keep": True}
    key = {"idempotency-key": unique("key")}
    first, again = (shop.http.post("/v1/chat", json=body, headers=key).raise_for_status().json() for _ in range(2))
    assert first["conversation"] is not None
    assert first["conversation"] == again["conversation"]
    assert len(rows(shop)) == 1


def test_the_oldest_turns_are_dropped_and_that_is_said(shop: Shop) -> None:
    conversation = say(shop, "Turn 1", keep=True)["conversation"]["id"]
    kept = shop.stack.settings.conversation_turns
    with writing(shop.stack.engine) as session:
        for seq in range(2, kept + 3):
            session.add(TurnRow(tenant=shop.tenant, conversation=conversation, seq=seq, prompt=shop.prompt,
                                messages=list(OLD), call_id="call_x", created_at=0.0))  # fmt: skip
    told = say(shop, "And now?", conversation=conversation)["conversation"]
    assert (told["turn"], told["turns_sent"], told["turns_dropped"]) == (kept + 3, kept, 2)


def test_another_tenants_conversation_is_unknown(stack: Stack, shop: Shop) -> None:
    conversation = say(shop, "When?", keep=True)["conversation"]["id"]
    other = open_shop(stack, unique("tenant"), shop.prompt)
    for identity in (conversation, "conv_" + "0" * 26):
        answers = [
            chat(other, ASKED, conversation=identity),
            other.http.get(f"/v1/conversations/{identity}"),
            other.http.delete(f"/v1/conversations/{identity}"),
        ]
        assert [(one.status_code, one.json()["error"]["code"]) for one in answers] == [
            (404, "unknown_conversation")
        ] * 3
    assert len(held(shop, conversation)) == 1


def test_deleting_a_conversation(shop: Shop) -> None:
    conversation = say(shop, "When?", keep=True)["conversation"]["id"]
    assert shop.http.delete(f"/v1/conversations/{conversation}").status_code == 204
    assert shop.http.get(f"/v1/conversations/{conversation}").status_code == 404
    assert chat(shop, ASKED, conversation=conversation).status_code == 404
    assert shop.http.get("/v1/conversations/%00").status_code == 404


def test_what_sql_cannot_hold_is_kept_as_well_as_it_can(shop: Shop) -> None:
    conversation = say(shop, "When\0do parcels arrive?", keep=True)["conversation"]["id"]
    assert held(shop, conversation)[0][0]["content"] == "When\ufffddo parcels arrive?"


def test_a_turn_that_was_taken_over_is_answered_and_marked_as_not_kept(shop: Shop) -> None:
    conversation = say(shop, "When?", keep=True)["conversation"]["id"]
    with shop.stack.simulator.faults({"latency_ms": 1000}), ThreadPoolExecutor(1) as pool:
        slow = pool.submit(say, shop, "And now?", conversation=conversation, personal=True)
        until("the turn is claimed", lambda: len(rows(shop)) == 2)
        with writing(shop.stack.engine) as session:
            session.execute(update(TurnRow).where(TurnRow.tenant == shop.tenant).values(call_id="call_other"))
        body = slow.result()
    assert body["text"]
    assert (body["conversation"]["turn"], body["conversation"]["kept"]) == (2, False)


def test_without_sql_only_what_callers_hold_goes_on(tmp_path: Path) -> None:
    with gateway_stack(tmp_path, key_cache_ttl=60) as stack:
        shop = open_shop(stack, "acme", "help")
        plain = prompt_version("acme", "plain", retrieval=None, variables=(Variable("question"),),
                               template=({"role": "user", "content": "{{question}}"},))  # fmt: skip
        stack.add(plain)
        conversation = say(shop, "When?", keep=True)["conversation"]["id"]
        body = {"prompt": "plain", "messages": [ASKED]}
        with out_of_reach(stack.settings.sql_url):
            assert shop.http.post("/v1/chat", json=body).status_code == 200
            response = shop.http.post("/v1/chat", json=body | {"conversation": conversation})
            assert (response.status_code, response.json()["error"]["code"]) == (503, "storage_unavailable")
            assert "retry-after" in response.headers


def test_a_lease_is_longer_than_a_call() -> None:
    assert store.LEASE > 60
