"""``/v1/embeddings`` by the official SDK, and the plain ``/v1/embed``."""

import asyncio
import base64
import json
from decimal import Decimal
from typing import Any

import numpy as np
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI

from gateway.auth.keys import create_key
from gateway.embedding.lexical import LexicalEmbedder
from gateway.types import KeyLimits
from infra.simulator.embedding import embed
from tests.gateway.api.conftest import Shop
from tests.gateway_stack import Stack, unique

pytestmark = pytest.mark.integration

SMALL, LARGE, LEXICAL = "text-embedding-3-small", "text-embedding-3-large", "promptyard/lexical"


def ours(answer: Any) -> dict[str, Any]:
    told: dict[str, Any] = answer.promptyard
    return told


def test_the_sdk_gets_the_models_own_vectors(shop: Shop) -> None:
    texts = ["When do parcels arrive?", "Où est mon colis ?"]
    answer = shop.openai.embeddings.create(model=SMALL, input=texts)  # the SDK asks for base64 and unpacks it
    assert [item.index for item in answer.data] == [0, 1]
    assert np.array_equal([item.embedding for item in answer.data], [embed(text, 1536).tolist() for text in texts])
    plain = shop.openai.embeddings.create(model=SMALL, input=texts, encoding_format="float")
    assert [item.embedding for item in plain.data] == [item.embedding for item in answer.data]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    assert (answer.model, ours(answer)["provider"], ours(answer)["dimensions"]) == (SMALL, "openai", 1536)


@pytest.mark.parametrize("model", [LARGE, f"openai/{LARGE}", LEXICAL])
@pytest.mark.parametrize("dimensions", [64, None])
def test_dimensions_are_the_models_business(shop: Shop, model: str, dimensions: int | None) -> None:
    asked = {} if dimensions is None else {"dimensions": dimensions}
    answer = shop.openai.embeddings.create(model=model, input="one text", **asked)  # type: ignore[arg-type]
    assert len(answer.data) == 1
    assert len(answer.data[0].embedding) == dimensions or {LEXICAL: 1024}.get(model, 3072)


def test_tokens_are_inputs_too(shop: Shop) -> None:
    one = shop.openai.embeddings.create(model=SMALL, input=[5, 6, 7])
    several = shop.openai.embeddings.create(model=SMALL, input=[[5, 6, 7], [8]])
    assert (len(one.data), len(several.data)) == (1, 2)
    assert one.data[0].embedding == several.data[0].embedding
    with pytest.raises(openai.BadRequestError, match="texts, not tokens"):
        shop.openai.embeddings.create(model=LEXICAL, input=[5, 6, 7])


async def test_many_callers_share_few_requests_and_get_their_own(shop: Shop) -> None:
    """By the asynchronous SDK: sixty callers at once, each alone would be a request to the provider."""
    texts = [f"What is question number {number}?" for number in range(60)]
    before = shop.stack.simulator.calls()
    async with AsyncOpenAI(base_url=f"{shop.stack.url}/v1", api_key=shop.key, max_retries=0) as sdk:
        answers = await asyncio.gather(*(sdk.embeddings.create(model=SMALL, input=text) for text in texts))
    assert [answer.data[0].embedding for answer in answers] == [embed(text, 1536).tolist() for text in texts]
    assert shop.stack.simulator.calls() - before < 30
    rows = shop.stack.calls(shop.tenant)
    assert len(rows) == 60
    assert sum(row.input_tokens for row in rows) == sum(answer.usage.prompt_tokens for answer in answers)


def test_a_call_is_a_row_of_its_own_kind(shop: Shop) -> None:
    priced = shop.openai.embeddings.create(model=SMALL, input=["a question of mine"] * 3, user="ann")
    shop.http.post("/v1/embed", json={"texts": ["a question of mine"]}).raise_for_status()
    down = {"scope": {"provider": "openai", "model": SMALL}, "error_rate": 1.0, "error_status": 503}
    with shop.stack.simulator.faults(down), pytest.raises(openai.InternalServerError):
        shop.openai.embeddings.create(model=SMALL, input="a question of mine")
    first, second, third = shop.stack.calls(shop.tenant)
    assert {row.kind for row in (first, second, third)} == {"embedding"}
    assert (first.id, first.provider, first.model, first.user) == (ours(priced)["call_id"], "openai", SMALL, "ann")
    assert first.input_tokens == priced.usage.prompt_tokens
    assert first.cost_usd == Decimal(first.input_tokens) * Decimal("0.02") / 1_000_000
    assert (second.model, second.cost_usd, second.status) == ("lexical", Decimal(0), "ok")
    assert (third.status, third.error, len(third.attempts)) == ("failed", "provider_overloaded", 2)  # tried again
    assert all((row.question, row.answer) == (None, None) for row in (first, second, third))
    assert not any("a question of mine" in str(vars(row)) for row in (first, second, third))


async def test_the_plain_endpoint(shop: Shop) -> None:
    texts = ["When do parcels arrive?", "Parcels arrive within three days."]
    answer = shop.http.post("/v1/embed", json={"texts": texts}).raise_for_status()
    body = answer.json()
    assert np.allclose(body["vectors"], await LexicalEmbedder().embed(texts))
    assert (body["model"], body["promptyard"]["provider"], body["promptyard"]["cost_usd"]) == (
        "lexical",
        "promptyard",
        0,
    )
    assert answer.headers["x-promptyard-call-id"] == body["promptyard"]["call_id"]
    named = shop.http.post("/v1/embed", json={"texts": texts, "model": SMALL, "dimensions": 8}).json()
    assert np.allclose(named["vectors"], [embed(text, 8).tolist() for text in texts])


def test_thousands_of_rows_arrive_whole(shop: Shop) -> None:
    answer = shop.openai.embeddings.create(model=LEXICAL, input=[f"text {n}" for n in range(2048)], dimensions=16)
    assert [item.index for item in answer.data] == list(range(2048))
    floats = shop.http.post("/v1/embed", json={"texts": [f"text {n}" for n in range(2048)], "dimensions": 16}).json()
    assert floats["vectors"] == [item.embedding for item in answer.data]


def test_a_neighbours_bad_text_is_its_own_trouble(stack: Stack) -> None:
    """Two tenants at once: one text is too long for the model, the other is answered."""
    keys = {name: stack.key(unique(name)) for name in ("careful", "careless")}

    async def both() -> list[Any]:
        async def ask(key: str, text: str) -> Any:
            async with AsyncOpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0) as sdk:
                return await sdk.embeddings.create(model=SMALL, input=text)

        asked = [ask(keys["careful"], f"text {n}") for n in range(8)]
        asked += [ask(keys["careless"], "word " * 9_000) for _ in range(2)]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(both())
    assert [answer.data[0].embedding for answer in found[:8]] == [embed(f"text {n}", 1536).tolist() for n in range(8)]
    for error in found[8:]:
        assert isinstance(error, openai.BadRequestError)
        assert error.code == "provider_rejected_request"


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("/v1/embeddings", {"model": SMALL}, 400, "invalid_request"),
    ("/v1/embeddings", {"input": "a"}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": ""}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": []}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": ["a", ""]}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": ["a", 1]}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": [True]}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": [-1]}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": [[]]}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": [2**63]}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": ["a"] * 2049}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": "a", "encoding_format": "hex"}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": "a", "dimensions": 0}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": "a", "user": 5}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": "a", "stream": True}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": SMALL, "input": "a", "promptyard": {"cache": "bypass"}}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": "a\nb", "input": "a"}, 400, "invalid_request"),
    ("/v1/embeddings", {"model": "prompt:help", "input": "a"}, 404, "unknown_model"),
    ("/v1/embeddings", {"model": "claude-haiku-4-5", "input": "a"}, 404, "unknown_model"),
    ("/v1/embeddings", {"model": "promptyard/large", "input": "a"}, 404, "unknown_model"),
    ("/v1/embed", {}, 400, "invalid_request"),
    ("/v1/embed", {"texts": "a"}, 400, "invalid_request"),
    ("/v1/embed", {"texts": [[1]]}, 400, "invalid_request"),
    ("/v1/embed", {"texts": ["a"] * 2049}, 400, "invalid_request"),
    ("/v1/embed", {"texts": ["a"], "dimensions": 3}, 400, "invalid_request"),
]


@pytest.mark.parametrize(("path", "body", "status", "code"), REFUSED)
def test_what_is_refused(shop: Shop, path: str, body: dict[str, Any], status: int, code: str) -> None:
    answer = shop.http.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert shop.stack.calls(shop.tenant) == []


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (KeyLimits(requests_per_minute=1), "rate_limited"),
        (KeyLimits(tokens_per_minute=500), "rate_limited"),
        (KeyLimits(daily_budget_usd=1e-6), "budget_exhausted"),
    ],
)
def test_a_keys_limits_hold(stack: Stack, limits: KeyLimits, code: str) -> None:
    tenant = unique("tenant")
    key, _ = create_key(stack.engine, stack.clock, tenant, "limited", ["chat"], limits)
    with stack.http(key) as http:
        codes = [http.post("/v1/embed", json={"texts": ["word " * 200], "model": SMALL}) for _ in range(4)]
    refused = [answer for answer in codes if answer.status_code == 429]
    assert {answer.json()["error"]["code"] for answer in refused} == {code}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert len(stack.calls(tenant)) == 4 - len(refused)


def test_a_key_without_the_scope_is_refused(stack: Stack) -> None:
    with stack.http(stack.key(unique("tenant"), ["feedback"])) as http:
        assert http.post("/v1/embed", json={"texts": ["a"]}).status_code == 403
    with stack.http() as http:
        assert http.post("/v1/embeddings", json={"model": LEXICAL, "input": "a"}).status_code == 401


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("model", "input", "texts", "encoding_format", "dimensions", "user", "input_type")
NEARLY = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(FIELDS, JSON)
    | {
        "model": st.sampled_from([LEXICAL, SMALL, "prompt:x"]) | JSON,
        "input": st.lists(st.text(max_size=5), max_size=4) | st.lists(st.integers(0, 9), max_size=4) | JSON,
        "texts": st.lists(st.text(max_size=5), max_size=4) | JSON,
    },
)


@given(st.sampled_from(["/v1/embeddings", "/v1/embed"]), NEARLY | JSON)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_makes_a_500(shop: Shop, path: str, body: Any) -> None:
    sent = json.dumps(body).encode()
    answer = shop.http.post(path, content=sent, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200:
        assert answer.json()["error"]["code"] != "internal_error"


def test_base64_on_the_wire_is_little_endian_float32(shop: Shop) -> None:
    body = {"model": LEXICAL, "input": "one text", "encoding_format": "base64"}
    shown = shop.http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    plain = shop.http.post("/v1/embeddings", json=body | {"encoding_format": None}).json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(shown), dtype="<f4").tolist() == plain


def test_the_schema_says_what_comes_in_and_out(shop: Shop) -> None:
    schema = shop.http.get("/openapi.json").json()
    for path, answer in (("/v1/embeddings", "EmbeddingList"), ("/v1/embed", "VectorList"), ("/v1/models", "ModelList")):
        operation = next(iter(schema["paths"][path].values()))
        shown = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert shown == {"$ref": f"#/components/schemas/{answer}"}
        assert answer in schema["components"]["schemas"]
