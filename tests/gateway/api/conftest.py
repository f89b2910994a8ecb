"""One gateway for all of these tests: each works with a tenant of its own."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from openai import OpenAI

from tests.gateway_stack import Stack, gateway_stack, prompt_version, unique, until


@dataclass
class Shop:
    """A tenant with a prompt in production, a document that grounds it, and a key for everything but admin."""

    stack: Stack
    tenant: str
    prompt: str
    key: str
    openai: OpenAI
    http: httpx.Client

    def put(self, document: str, title: str, text: str) -> httpx.Response:
        body = {"title": title, "text": text}
        return self.http.put(f"/v1/documents/{self.prompt}/{document}", json=body).raise_for_status()

    def ask(self, question: str = "When do parcels arrive?", **more: object) -> httpx.Response:
        body = {"model": f"prompt:{self.prompt}", "variables": {"question": question}, **more}
        response = self.http.post("/v1/chat/completions", json=body)
        self.settle()
        return response

    def settle(self) -> None:
        """What is kept is kept after its caller has the answer: wait for that, unless calls hang."""
        with contextlib.suppress(AssertionError):
            until("all is kept", lambda: self.stack.gateway.pipeline.idle, within=1.0)

    def answer(self, question: str = "When do parcels arrive?", **more: object) -> tuple[str, str, str]:
        """Text, cache layer and cache reason."""
        body = self.ask(question, **more).raise_for_status().json()
        cache = body["promptyard"]["cache"]
        return body["choices"][0]["message"]["content"], cache["layer"], cache["reason"]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with gateway_stack(tmp_path_factory.mktemp("gateway")) as running:
        yield running


def open_shop(stack: Stack, tenant: str, prompt: str) -> Shop:
    stack.add(prompt_version(tenant, prompt))
    key = stack.key(tenant)
    shop = Shop(stack, tenant, prompt, key, stack.openai(key), stack.http(key))
    shop.put("shipping", "Shipping times", "Parcels arrive within three days.")
    return shop


@pytest.fixture
def shop(stack: Stack) -> Iterator[Shop]:
    opened = open_shop(stack, unique("tenant"), unique("help"))
    yield opened
    opened.openai.close()
    opened.http.close()
