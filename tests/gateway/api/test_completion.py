"""``/v1/completion``: one answer of a managed prompt, whole or as a stream."""

from typing import Any

import httpx
import pytest

from tests.gateway.api.conftest import Shop
from tests.gateway.api.sse import events
from tests.gateway_stack import prompt_version

pytestmark = pytest.mark.integration

QUESTION = {"question": "When do parcels arrive?"}


def complete(shop: Shop, **more: Any) -> httpx.Response:
    return shop.http.post("/v1/completion", json={"prompt": shop.prompt, "variables": QUESTION, **more})


def test_an_answer_says_where_it_came_from(shop: Shop) -> None:
    body = complete(shop, user="u-1").raise_for_status().json()
    assert set(body) == {"text", "message", "finish_reason", "usage", "promptyard"}
    assert "three days" in body["text"]
    assert body["message"]["content"] == body["text"]
    assert (body["finish_reason"], body["usage"]["completion_tokens"] > 0) == ("stop", True)
    told = body["promptyard"]
    assert (told["prompt"], told["version"], told["documents"]) == (
        shop.prompt, "1.0.0", [f"doc:{shop.prompt}/shipping@1"],
    )  # fmt: skip
    [row] = shop.stack.calls(shop.tenant)
    assert (row.id, row.user, row.status) == (told["call_id"], "u-1", "ok")


def test_the_same_is_cached_for_this_endpoint_and_openais(shop: Shop) -> None:
    complete(shop)
    assert complete(shop).json()["promptyard"]["cache"]["layer"] == "exact"
    assert shop.answer()[1] == "exact"


@pytest.mark.parametrize("option", [{"cache": "bypass"}, {"personal": True}])
def test_what_is_personal_is_in_no_cache(shop: Shop, option: dict[str, Any]) -> None:
    for _ in range(2):
        told = complete(shop, **option).json()["promptyard"]["cache"]
        assert (told["layer"], told["reason"], told["reasons"]["exact"]) == ("none", "bypass", "bypass")
    assert complete(shop).json()["promptyard"]["cache"]["layer"] == "none"


def test_a_version_and_parameters_by_name(shop: Shop) -> None:
    shop.stack.release(prompt_version(shop.tenant, shop.prompt, "1.1.0"), weight=100)
    body = complete(shop, version="1.1.0", params={"max_tokens": 2}).json()
    assert (body["promptyard"]["version"], body["finish_reason"]) == ("1.1.0", "length")
    assert complete(shop, version="9.9.9").status_code == 404


def test_a_stream_ends_with_the_whole_answer(shop: Shop) -> None:
    for layer in ("none", "exact"):
        *deltas, (name, answer) = events(complete(shop, stream=True))
        assert {kind for kind, _ in deltas} == {"delta"}
        assert name == "answer"
        assert "".join(data["text"] for _, data in deltas) == answer["text"] != ""
        assert answer["promptyard"]["cache"]["layer"] == layer
        assert answer["usage"]["total_tokens"] > 0


def test_a_stream_that_breaks_ends_with_an_error(shop: Shop) -> None:
    with shop.stack.simulator.faults({"cut_after_chunks": 5}):
        *_, (name, told) = events(complete(shop, stream=True))
    assert (name, told["error"]["code"]) == ("error", "stream_interrupted")
    assert told["promptyard"] == {"call_id": told["error"]["call_id"], "partial": True}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"prompt": "no such"}, "invalid_request"),
        ({"prompt": "help@1.0.0"}, "invalid_request"),
        ({"variables": {}}, "missing_variable"),
        ({"variables": {"question": ["a"]}}, "invalid_request"),
        ({"params": {"model": "gpt-4.1"}}, "invalid_request"),
        ({"params": {"n": 2}}, "invalid_request"),
        ({"cache": "always"}, "invalid_request"),
        ({"personal": "yes"}, "invalid_request"),
        ({"messages": []}, "invalid_request"),
        ({"variabels": {}}, "invalid_request"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(shop: Shop, change: dict[str, Any], code: str) -> None:
    response = complete(shop, **change)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert not shop.stack.calls(shop.tenant)


def test_null_is_the_same_as_nothing(shop: Shop) -> None:
    assert complete(shop, version=None, user=None, params=None, stream=None, cache=None).status_code == 200
