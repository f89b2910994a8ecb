"""Documents over HTTP: what is acknowledged is what is answered from, at once and for its tenant alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway_stack import Stack, unique, until

pytestmark = pytest.mark.integration

NEW = ("shipping", "Shipping times", "Parcels arrive within nine days.")


def test_what_was_put_can_be_read_and_listed(shop: Shop) -> None:
    state = shop.put(*NEW).json()
    assert (state["id"], state["version"], state["changed"]) == ("shipping", 2, True)
    assert shop.put(*NEW).json() | {"changed": True} == state  # the same content again is no new version
    found = shop.http.get(f"/v1/documents/{shop.prompt}/shipping").json()
    assert (found["title"], found["text"], found["state"]["version"]) == (*NEW[1:], 2)
    listed = shop.http.get(f"/v1/documents/{shop.prompt}").json()["documents"]
    assert [document["id"] for document in listed] == ["shipping"]


def test_a_list_comes_in_pages_and_says_when_there_is_more(shop: Shop) -> None:
    names = [*sorted(f"d{number}" for number in range(104)), "shipping"]
    for name in names[:-1]:
        shop.put(name, "A title", f"What {name} says.").raise_for_status()
    place = f"/v1/documents/{shop.prompt}"

    def page(**query: str | int) -> tuple[list[str], bool, str | None]:
        answer = shop.http.get(place, params=query).raise_for_status().json()
        return [document["id"] for document in answer["documents"]], answer["has_more"], answer["next"]

    assert page() == (names[:100], True, names[99])
    assert page(after=names[99]) == (names[100:], False, None)
    assert page(limit=3, after="d5") == (["d50", "d51", "d52"], True, "d52")
    assert page(limit=500) == (names, False, None)
    assert page(limit=105) == (names, False, None)
    assert page(after="z") == ([], False, None)
    for wrong in ({"limit": 0}, {"limit": 501}, {"limit": "all"}, {"after": "\x00"}, {"after": "x" * 121}):
        refused = shop.http.get(place, params=wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request"), wrong


def test_the_next_answer_after_a_change_is_the_new_one(shop: Shop) -> None:
    for _ in range(2):
        assert "three days" in shop.answer()[0]
    shop.put(*NEW)
    text, layer, reason = shop.answer()
    assert "nine days" in text
    assert (layer, reason) == ("none", "epoch")
    assert shop.answer()[1] == "exact"


def test_the_next_answer_after_a_deletion_does_not_know_it_any_more(shop: Shop) -> None:
    assert "three days" in shop.answer()[0]
    shop.http.delete(f"/v1/documents/{shop.prompt}/shipping").raise_for_status()
    assert "three days" not in shop.answer()[0]
    assert shop.http.get(f"/v1/documents/{shop.prompt}/shipping").status_code == 404
    assert shop.put("shipping", "Shipping times", "Parcels arrive within three days.").json()["version"] == 3
    assert "three days" in shop.answer()[0]


@pytest.mark.parametrize("change", ["put", "delete"])
def test_an_answer_that_was_being_made_is_of_the_new_version(shop: Shop, change: str) -> None:
    simulator = shop.stack.simulator
    with ThreadPoolExecutor() as threads, simulator.faults({"latency_ms": 400}):
        before = simulator.calls()
        slow = threads.submit(shop.answer)
        until("the provider thinks", lambda: simulator.calls() > before)
        if change == "put":
            shop.put(*NEW)
        else:
            shop.http.delete(f"/v1/documents/{shop.prompt}/shipping").raise_for_status()
        in_flight, following = slow.result()[0], shop.answer()[0]
    for text in (in_flight, following):
        assert "three days" not in text
        assert ("nine days" in text) is (change == "put")


def test_a_stream_that_was_under_way_is_not_kept(shop: Shop) -> None:
    with shop.stack.simulator.faults({"latency_ms": 600, "first_token_ms": 0}):
        body = {"model": f"prompt:{shop.prompt}", "variables": {"question": "When do parcels arrive?"}, "stream": True}
        with shop.http.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            shop.put(*NEW)
            assert list(lines)[-2:] == ["data: [DONE]", ""]
    text, layer, _ = shop.answer()
    assert "nine days" in text
    assert layer == "none"


def test_a_change_of_another_document_leaves_the_answer_kept(shop: Shop) -> None:
    first = shop.answer()[0]
    asked = shop.stack.simulator.calls()
    shop.put("invoices", "Invoices", "An invoice is sent by mail on the first of each month.")
    assert shop.answer() == (first, "exact", "revalidated")
    assert shop.answer() == (first, "exact", "hit")
    assert shop.stack.simulator.calls() == asked


def test_a_new_document_that_answers_better_is_used_at_once(shop: Shop) -> None:
    question = "How long do parcels to Iceland take by ship?"
    before = shop.answer(question)[0]
    shop.put("iceland", "Parcels to Iceland by ship", "Parcels to Iceland take thirty days by ship.")
    after = shop.answer(question)[0]
    assert "thirty days" in after
    assert "thirty days" not in before


def test_tenants_with_the_same_names_never_meet(stack: Stack) -> None:
    prompt = unique("same-name")
    one, other = (open_shop(stack, unique("tenant"), prompt) for _ in range(2))
    assert "three days" in one.answer()[0]
    other.put(*NEW)
    assert "nine days" in other.answer()[0]
    assert other.answer()[1] == "exact"
    text, layer, _ = one.answer()  # the same key but for the tenant
    assert "three days" in text
    assert layer == "exact"
    other.put("mine", "Mine", "Nobody else may read this.")
    assert one.http.get(f"/v1/documents/{prompt}/mine").status_code == 404
    assert [d["id"] for d in one.http.get(f"/v1/documents/{prompt}").json()["documents"]] == ["shipping"]
    assert one.http.delete(f"/v1/documents/{prompt}/mine").status_code == 404
    assert {row.tenant for row in stack.calls(one.tenant)} == {one.tenant}
