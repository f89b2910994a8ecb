"""``/v1/models``: what a tenant may name, and nothing of another tenant."""

import openai
import pytest

from gateway.api.models import listed
from gateway.types import Arm, ModelRef, Route, RoutingTable
from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway_stack import CLAUDE, GPT, Stack, prompt_version, unique

OTHER = ModelRef("mine", "m-1")


def route(tenant: str, prompt: str, *chains: tuple[ModelRef, ...]) -> Route:
    arms = tuple(Arm(f"arm {n}", prompt_version(tenant, prompt, chain=chain), 0) for n, chain in enumerate(chains))
    return Route(tenant=tenant, prompt=prompt, arms=arms)


def test_prompts_then_models_each_once() -> None:
    table = RoutingTable(
        revision=1,
        published_at=1_700_000_000.5,
        routes=(route("acme", "tone", (GPT,)), route("acme", "help", (GPT, CLAUDE), (OTHER,)), route("else", "x", ())),
    )
    found = listed(table, "acme", [ModelRef("promptyard", "lexical"), OTHER])
    assert [(one["id"], one["owned_by"], one["created"]) for one in found] == [
        ("prompt:help", "promptyard", 1_700_000_000),
        ("prompt:tone", "promptyard", 1_700_000_000),
        (str(CLAUDE), "anthropic", 0),
        (str(OTHER), "mine", 0),
        (str(GPT), "openai", 0),
        ("promptyard/lexical", "promptyard", 0),
    ]


@pytest.mark.integration
def test_the_sdk_lists_and_finds(shop: Shop) -> None:
    found = [model.id for model in shop.openai.models.list()]
    assert found == [f"prompt:{shop.prompt}", str(CLAUDE), str(GPT), "promptyard/lexical"]
    for name in found:
        assert shop.openai.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError):
        shop.openai.models.retrieve("gpt-none")


@pytest.mark.integration
def test_another_tenants_prompt_is_not_there(stack: Stack, shop: Shop) -> None:
    other = open_shop(stack, unique("tenant"), unique("secret"))
    try:
        assert f"prompt:{other.prompt}" not in [model.id for model in shop.openai.models.list()]
        with pytest.raises(openai.NotFoundError) as failure:
            shop.openai.models.retrieve(f"prompt:{other.prompt}")
        unheard = shop.http.get("/v1/models/prompt:never-was").json()["error"]
        assert failure.value.body["message"] == unheard["message"]  # type: ignore[index]
    finally:
        other.openai.close()
        other.http.close()


@pytest.mark.integration
def test_a_key_is_needed(stack: Stack) -> None:
    with stack.http() as http:
        assert http.get("/v1/models").status_code == 401
        assert http.get("/v1/models/promptyard/lexical").status_code == 401
