"""LLM calls of flows go through the online path: in order, cached, recorded, and one that fails fails alone."""

import pytest

from gateway.storage.engine import reading
from gateway.storage.models import CallRow
from gateway.types import CacheMode, Layer, Origin
from tasks.llm import LlmCall, client
from tests.tasks.conftest import Station

pytestmark = pytest.mark.integration


def raw(text: str, *, repeat: int = 0, cache: CacheMode = CacheMode.DEFAULT) -> LlmCall:
    return LlmCall(
        tenant="acme",
        origin=Origin.JUDGE,
        model="openai/judge",
        messages=({"role": "user", "content": text},),
        params={"temperature": 0},
        repeat=repeat,
        cache=cache,
    )


def test_results_are_in_order_and_one_that_fails_fails_alone(station: Station) -> None:
    station.put("a", "Apples.")
    calls = [
        raw("first"),
        LlmCall(tenant="acme", origin=Origin.GATE, version=station.version, variables={"wrong": "x"}),
        LlmCall(tenant="acme", origin=Origin.GATE, version=station.version, variables={"question": "apples?"}),
    ]
    first, failed, managed = client(station.settings).complete(calls, in_flight=2)
    assert first.text == "first"
    assert (failed.answer, failed.text, failed.error) == (None, "", "invalid_request")
    assert "'wrong'" in failed.message
    assert "Apples." in managed.text


def test_the_same_again_is_free_and_a_repeat_is_real(station: Station) -> None:
    results = [client(station.settings).complete([call])[0] for call in (raw("x"), raw("x"), raw("x", repeat=1))]
    assert [result.answer.layer for result in results if result.answer] == [Layer.NONE, Layer.EXACT, Layer.NONE]
    assert station.provider.calls == 2


def test_an_outage_is_a_result_not_an_exception(station: Station) -> None:
    station.provider.down = True
    (result,) = client(station.settings).complete([raw("x", cache=CacheMode.BYPASS)])
    assert (result.answer, result.error) == (None, "all_providers_failed")


def test_every_call_is_in_the_ledger_with_its_origin(station: Station) -> None:
    client(station.settings).complete([raw("x")])
    station.ship()
    with reading(station.engine) as session:
        rows = session.query(CallRow).all()
    assert [(row.origin, row.model, row.status) for row in rows] == [("judge", "judge", "ok")]
