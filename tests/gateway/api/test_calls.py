"""``GET /v1/calls/{id}`` explains a call to its own tenant, and to nobody else."""

from typing import Any

import pytest

from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway_stack import unique


def explained(shop: Shop, call_id: str) -> dict[str, Any]:
    shop.stack.ship()
    body: dict[str, Any] = shop.http.get(f"/v1/calls/{call_id}").raise_for_status().json()
    return body


def test_a_miss_then_a_hit(shop: Shop) -> None:
    first, again = shop.ask().json(), shop.ask().json()
    miss, hit = explained(shop, first["id"]), explained(shop, again["id"])
    reasons = first["promptyard"]["cache"]["reasons"]
    similar = miss["cache"].pop("similar")
    assert miss["cache"] == {"layer": "none", "reason": "miss", "kept": "kept", "reasons": reasons}
    assert (similar["served"], similar["lexical"]) == (False, True)
    assert similar["state"] == reasons["semantic"]
    assert (reasons["exact"], reasons["embedding"], reasons["context"]) == ("miss", "unneeded", "unneeded")
    assert reasons["semantic"]
    assert hit["cache"] == {
        "layer": "exact",
        "reason": "hit",
        "kept": None,
        "reasons": {"exact": "hit"},
        "similar": None,
    }
    assert again["promptyard"]["cache"]["reasons"] == {"exact": "hit"}
    assert miss["route"]["prompt"] == shop.prompt
    assert (miss["route"]["version"], miss["route"]["arm"], miss["route"]["share_of_users"]) == ("1.0.0", "stable", 1.0)
    assert miss["money"]["cost_usd"] == first["promptyard"]["cost_usd"] > 0
    assert (hit["money"]["cost_usd"], hit["money"]["saved_usd"]) == (0, miss["money"]["cost_usd"])
    assert miss["attempts"][0]["provider"] == "openai"
    assert {"cache", "retrieve", "provider"} <= miss["stages_ms"].keys()
    assert miss["documents"] == [f"doc:{shop.prompt}/shipping@1"]
    assert miss["question"] == "When do parcels arrive?"


def test_a_failure_says_what_was_tried(shop: Shop) -> None:
    with shop.stack.simulator.faults({"error_rate": 1.0}):
        failed = shop.ask(promptyard={"cache": "bypass"})
    assert {tried["provider"] for tried in failed.json()["error"]["attempts"]} == {"openai", "anthropic"}
    story = explained(shop, failed.headers["x-promptyard-call-id"])
    assert (story["status"], story["error"]) == ("failed", "all_providers_failed")
    assert {attempt["provider"] for attempt in story["attempts"]} == {"openai", "anthropic"}
    assert story["money"]["cost_usd"] == 0


def test_scores_are_there(shop: Shop) -> None:
    call_id = shop.ask().json()["id"]
    shop.http.post("/v1/feedback", json={"call_id": call_id, "metric": "helpful", "value": 0.5}).raise_for_status()
    assert explained(shop, call_id)["scores"] == [
        {"metric": "helpful", "source": "feedback", "value": 0.5, "reason": ""}
    ]


def test_another_tenants_call_is_not_there(shop: Shop) -> None:
    other = open_shop(shop.stack, unique("tenant"), shop.prompt)
    call_id = other.ask().json()["id"]
    shop.stack.ship()
    assert shop.http.get(f"/v1/calls/{call_id}").status_code == 404


@pytest.mark.parametrize("call_id", ["call_" + "0" * 26, "x", "call_%00"])
def test_what_is_no_call_is_said_to_be_none(shop: Shop, call_id: str) -> None:
    assert shop.http.get(f"/v1/calls/{call_id}").status_code in (400, 404)


def test_an_id_of_another_form_is_told_in_words(shop: Shop) -> None:
    answer = shop.http.get("/v1/calls/nix")
    message = answer.json()["error"]["message"]
    assert (answer.status_code, "call_id" in message) == (400, True)
    assert not set("^$[]{}") & set(message), "no regular expression"
