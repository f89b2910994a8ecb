"""The embedder behind an endpoint, over real HTTP on loopback."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from gateway.embedding.batching import MicroBatcher
from gateway.embedding.build import build_embedder
from gateway.embedding.lexical import LexicalEmbedder
from gateway.embedding.openai_endpoint import OpenAIEmbedder, open_client
from gateway.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRejectedKey,
    ProviderRejectedRequest,
    ProviderTimeout,
    ProviderUnknownModel,
    ProviderUnreachable,
)
from gateway.settings import ProviderSettings, Settings

KEY = "sk-very-secret"
Answer = Callable[[dict[str, Any]], Any]


class Endpoint:
    """Answers ``POST /embeddings`` as told; remembers the bodies."""

    def __init__(self) -> None:
        self.answer: Answer = good
        self.status = 200
        self.headers: dict[str, str] = {}
        self.hang = False
        self.bodies: list[dict[str, Any]] = []
        self.released = asyncio.Event()
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        if self.hang:
            await self.released.wait()
        answer = self.answer(self.bodies[-1])
        if isinstance(answer, str):
            return web.Response(text=answer, status=self.status, content_type="application/json")
        return web.json_response(answer, status=self.status, headers=self.headers)


def rows(body: dict[str, Any], vectors: list[Any]) -> dict[str, Any]:
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
    usage = {"prompt_tokens": 10, "total_tokens": 10}
    return {"object": "list", "model": body["model"], "data": data[::-1], "usage": usage}  # in any order


def packed(body: dict[str, Any]) -> dict[str, Any]:
    vectors = np.asarray([[3.0, 4.0 * len(text)] for text in body["input"]], dtype="<f4")
    return rows(body, [base64.b64encode(vector.tobytes()).decode() for vector in vectors])


def good(body: dict[str, Any]) -> dict[str, Any]:
    return rows(body, [[3.0, 4.0 * len(text)] for text in body["input"]])


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    app = web.Application()
    app.router.add_post("/v1/embeddings", endpoint.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield endpoint
    endpoint.released.set()
    await runner.cleanup()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., OpenAIEmbedder]]:
    opened: list[OpenAIEmbedder] = []

    def open_one(url: str, timeout: float = 5.0, **options: Any) -> OpenAIEmbedder:
        client = open_client(base_url=url, api_key=KEY, timeout=timeout, connect_timeout=1.0)
        embedder = OpenAIEmbedder(provider="acme", model="small", client=client, options=options)
        opened.append(embedder)
        return embedder

    yield open_one
    for embedder in opened:
        await embedder.aclose()


async def test_rows_come_in_order_and_at_unit_length(
    endpoint: Endpoint, connect: Callable[..., OpenAIEmbedder]
) -> None:
    embedder = connect(endpoint.url)
    assert (embedder.name, embedder.dimensions) == ("acme/small", 0)
    vectors = await embedder.embed(["a", "bb"])
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, [[0.6, 0.8], [3 / np.sqrt(73), 8 / np.sqrt(73)]])
    assert embedder.dimensions == 2
    assert endpoint.bodies == [{"model": "small", "input": ["a", "bb"], "encoding_format": "base64"}]
    assert (await embedder.embed([])).shape == (0, 2)


async def test_numbers_come_in_either_encoding_and_as_the_model_gave_them(
    endpoint: Endpoint, connect: Callable[..., OpenAIEmbedder]
) -> None:
    embedder = connect(endpoint.url)
    plain = await embedder.answer(["a", "bb"])
    endpoint.answer = packed
    assert np.array_equal((await embedder.answer(["a", "bb"])).vectors, plain.vectors)
    assert plain.vectors.tolist() == [[3.0, 4.0], [3.0, 8.0]]


async def test_tokens_are_shared_by_length_and_estimated_where_nobody_counted(
    endpoint: Endpoint, connect: Callable[..., OpenAIEmbedder]
) -> None:
    embedder = connect(endpoint.url)
    assert (await embedder.answer(["a" * 4, "b" * 12])).tokens == (3, 7)  # of 10: 2.5 and 7.5
    endpoint.answer = lambda body: {"data": good(body)["data"]}
    assert (await embedder.answer(["a" * 4, "b" * 12])).tokens == (1, 3)


async def test_tokens_and_texts_go_in_requests_of_their_own(
    endpoint: Endpoint, connect: Callable[..., OpenAIEmbedder]
) -> None:
    await connect(endpoint.url).answer([[1, 2], [3], "a", "b", [4, 5, 6]])
    assert [body["input"] for body in endpoint.bodies] == [[[1, 2], [3]], ["a", "b"], [[4, 5, 6]]]


async def test_options_go_along_and_into_the_name(endpoint: Endpoint, connect: Callable[..., OpenAIEmbedder]) -> None:
    embedder = connect(endpoint.url, dimensions=2, input_type="query")
    await embedder.answer(["a"])
    assert (endpoint.bodies[0]["dimensions"], endpoint.bodies[0]["input_type"]) == (2, "query")
    assert embedder.name.startswith("acme/small#")
    assert embedder.name == connect(endpoint.url, input_type="query", dimensions=2).name
    assert embedder.name != connect(endpoint.url, input_type="query", dimensions=3).name


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("soon", None), ("inf", None), ("-1", None)])
async def test_it_says_when_to_come_again(
    endpoint: Endpoint, connect: Callable[..., OpenAIEmbedder], header: str, seconds: float | None
) -> None:
    endpoint.status, endpoint.headers = 429, {"retry-after": header}
    with pytest.raises(ProviderRateLimited) as failure:
        await connect(endpoint.url).embed(["a"])
    assert failure.value.retry_after == seconds


async def test_many_texts_go_in_bounded_batches(endpoint: Endpoint, connect: Callable[..., OpenAIEmbedder]) -> None:
    texts = [f"text {n}" for n in range(300)] + ["x" * 150_000, "y" * 150_000, " "]
    assert (await connect(endpoint.url).embed(texts)).shape == (303, 2)
    assert [len(body["input"]) for body in endpoint.bodies] == [128, 128, 45, 2]
    assert [text for body in endpoint.bodies for text in body["input"]] == texts


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ProviderRejectedRequest),
        (401, ProviderRejectedKey),
        (403, ProviderRejectedKey),
        (404, ProviderUnknownModel),
        (429, ProviderRateLimited),
        (500, ProviderOverloaded),
        (503, ProviderOverloaded),
    ],
)
async def test_a_status_becomes_an_error_after_one_try(
    endpoint: Endpoint, connect: Callable[..., OpenAIEmbedder], status: int, kind: type[ProviderError]
) -> None:
    endpoint.status = status
    endpoint.answer = lambda body: {"error": {"message": f"{KEY} {body['input']}"}}
    with pytest.raises(ProviderError) as failure:
        await connect(endpoint.url).embed(["a customer's words"])
    assert type(failure.value) is kind
    assert (failure.value.provider, failure.value.model) == ("acme", "small")
    assert KEY not in str(failure.value)
    assert "customer" not in str(failure.value)
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda body: rows(body, [[1.0, 2.0]]),  # one for two texts
        lambda body: rows(body, [[1.0, 2.0], [1.0]]),
        lambda body: rows(body, [[], []]),
        lambda body: rows(body, ["ab", "cd"]),
        lambda body: rows(body, ["AAAA", "AAAA"]),
        lambda body: {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]},
        lambda body: rows(body, [[1.0, None], [1.0, 2.0]]),
        lambda body: '{"object": "list", "data": [',
        lambda body: {"data": None},
        lambda body: {"hello": "world"},
        lambda body: [1, 2],
    ],
)
async def test_what_is_no_list_of_vectors_is_malformed(
    endpoint: Endpoint, connect: Callable[..., OpenAIEmbedder], answer: Answer
) -> None:
    endpoint.answer = answer
    with pytest.raises(ProviderMalformed):
        await connect(endpoint.url).embed(["a", "b"])


async def test_a_changed_length_is_malformed(endpoint: Endpoint, connect: Callable[..., OpenAIEmbedder]) -> None:
    embedder = connect(endpoint.url)
    await embedder.embed(["a"])
    endpoint.answer = lambda body: rows(body, [[1.0, 2.0, 3.0]])
    with pytest.raises(ProviderMalformed, match="different lengths"):
        await embedder.embed(["a"])


async def test_silence_is_a_time_out(endpoint: Endpoint, connect: Callable[..., OpenAIEmbedder]) -> None:
    endpoint.hang = True
    with pytest.raises(ProviderTimeout):
        await connect(endpoint.url, timeout=0.1).embed(["a"])


async def test_nobody_there_is_unreachable(
    connect: Callable[..., OpenAIEmbedder], unused_port: Callable[[], Awaitable[int]]
) -> None:
    with pytest.raises(ProviderUnreachable):
        await connect(f"http://127.0.0.1:{await unused_port()}/v1").embed(["a"])


@pytest.fixture
def unused_port() -> Callable[[], Awaitable[int]]:
    async def find() -> int:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return port

    return find


async def test_the_settings_choose() -> None:
    assert isinstance(build_embedder(Settings(embedder="lexical")), LexicalEmbedder)
    mine = ProviderSettings(base_url="http://127.0.0.1:9/v1")
    embedder = build_embedder(Settings(embedder="openai", embedding_model="mine/m-1", providers={"mine": mine}))
    assert (type(embedder), embedder.name) == (MicroBatcher, "mine/m-1")
    await embedder.aclose()


@pytest.mark.parametrize("model", ["nobody/m", "anthropic/m", "m"])
def test_a_model_without_a_fitting_provider_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match=r"openai|provider/model"):
        build_embedder(Settings(embedder="openai", embedding_model=model))
