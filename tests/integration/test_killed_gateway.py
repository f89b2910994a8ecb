"""``kill -9`` of a real gateway process: what it has answered is in the ledger, once."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.gateway.api.conftest import Shop
from tests.gateway_process import gateway_process
from tests.gateway_stack import Stack, until

pytestmark = pytest.mark.integration


def body(shop: Shop, question: str) -> dict[str, object]:
    return {"model": f"prompt:{shop.prompt}", "variables": {"question": question}, "user": "u-1"}


def test_no_answered_call_is_lost_and_none_is_there_twice(stack: Stack, shop: Shop) -> None:
    with gateway_process(stack.settings) as process:
        headers = {"authorization": f"Bearer {shop.key}"}

        def ask(number: int) -> str:
            with httpx.Client(base_url=process.url, headers=headers, timeout=30) as http:
                response = http.post("/v1/chat/completions", json=body(shop, f"When do parcels arrive, take {number}?"))
                return str(response.raise_for_status().json()["id"])

        with ThreadPoolExecutor(4) as threads:
            answered = list(threads.map(ask, range(8)))
        last = ask(99)
        process.kill()
    rows = stack.calls(shop.tenant)
    assert sorted(row.id for row in rows[1:]) == sorted([*answered, last])
    assert {row.status for row in rows} == {"ok"}
    assert len(stack.calls(shop.tenant)) == len(rows)
    assert shop.key not in process.log()


def test_sigterm_lets_an_answer_finish(stack: Stack, shop: Shop) -> None:
    with gateway_process(stack.settings) as process, stack.simulator.faults({"latency_ms": 500}):
        headers = {"authorization": f"Bearer {shop.key}"}
        before = stack.simulator.calls()
        with ThreadPoolExecutor() as threads:
            asked = threads.submit(
                httpx.post,
                f"{process.url}/v1/chat/completions",
                json=body(shop, "Parcels: when do they arrive?"),
                headers=headers,
                timeout=30,
            )
            until("the provider thinks", lambda: stack.simulator.calls() > before)
            code = process.terminate()
            answer = asked.result()
    assert "three days" in answer.json()["choices"][0]["message"]["content"]
    assert code in (0, -15)  # uvicorn hands the signal on once it is done
    assert stack.calls(shop.tenant)[-1].id == answer.json()["id"]
