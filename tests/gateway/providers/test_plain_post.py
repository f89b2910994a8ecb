"""The plain request, against a server that misbehaves on the level of bytes."""

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from gateway.clock import ManualClock
from gateway.errors import ProviderError, ProviderMalformed, ProviderRejectedRequest
from gateway.providers import failures, plain_post
from gateway.providers.plain_post import AnswerTooLarge, PlainPost, Refused, environment_proxy
from gateway.providers.retry import RetryBudget, Retrying
from gateway.types import Completion, ModelRef
from tests.gateway.providers.conftest import SECRET, Connect
from tests.gateway.providers.scripted_server import Server, answers, hangs

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(talk: Talk) -> AsyncIterator[str]:
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@asynccontextmanager
async def posting(url: str, connect_timeout: float = 2.0) -> AsyncIterator[PlainPost]:
    post = PlainPost(f"{url}/x", {"Authorization": f"Bearer {SECRET}"}, connect_timeout=connect_timeout)
    try:
        yield post
    finally:
        await post.aclose()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request, or b"" when the client hung up."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


async def test_one_connection_serves_call_after_call() -> None:
    connections = requests = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, requests
        connections += 1
        while await read_request(reader):
            requests += 1
            writer.write(OK)
        writer.close()

    async with raw_server(talk) as url, posting(url) as post:
        for _ in range(3):
            assert await post.send({"a": 1}, 5.0) == b"{}"
    assert (connections, requests) == (1, 3)


async def test_a_kept_connection_that_the_server_closed_meanwhile_costs_one_retry_and_no_error(
    connect: Connect, server: Server
) -> None:
    """The server answers the first request of each connection and hangs up on the second, as one that restarts does."""
    body = b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head + body)
        await read_request(reader)
        writer.close()

    async with raw_server(talk) as url:
        server.url = url
        provider = connect("openai")
        retrying = Retrying(
            provider, max_attempts=2, budget=RetryBudget(1.0), clock=ManualClock(), entropy=random.Random(7), base=1e-6
        )
        request = Completion(
            call_id="c", messages=({"role": "user", "content": "x"},), ref=ModelRef("openai", "gpt-4.1-mini")
        )
        first, second = [await retrying.complete(request) for _ in range(2)]
        await provider.aclose()  # the raw server would wait for its connections
    assert [a.error for a in first.attempts] == [""]
    assert (second.text, [a.error for a in second.attempts]) == ("hi", ["provider_unreachable", ""])


async def test_the_answer_is_bounded_decompressed_or_not(server: Server) -> None:
    huge = b" " * (plain_post.MAX_ANSWER_BYTES + 1)

    async def bomb(_: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(huge, 1), headers={"content-encoding": "gzip"})

    async def long(_: web.Request) -> web.StreamResponse:
        return web.Response(body=huge)

    async with posting(server.url) as post:
        for script in (bomb, long):
            server.script = script
            with pytest.raises(AnswerTooLarge):
                await post.send({}, 20.0)
    told = failures.from_exception(AnswerTooLarge(), ModelRef("p", "m"), now=0.0)
    assert type(told) is ProviderMalformed


async def test_a_compressed_answer_is_read(server: Server) -> None:
    async def script(_: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(b'{"a": 1}'), headers={"content-encoding": "gzip"})

    server.script = script
    async with posting(server.url) as post:
        assert await post.send({}, 5.0) == b'{"a": 1}'


async def test_the_headers_of_one_request_win_and_leave_the_next_alone(server: Server) -> None:
    server.script = answers(body={})
    async with posting(server.url) as post:
        await post.send({"a": [1, None, "é"]}, 5.0, {"anthropic-version": "1", "authorization": "other"})
        await post.send({}, 5.0)
    assert [h.get("anthropic-version") for h in server.headers] == ["1", None]
    assert [h["authorization"] for h in server.headers] == ["other", f"Bearer {SECRET}"]
    assert server.bodies[0] == {"a": [1, None, "é"]}
    assert all(h["content-type"] == "application/json" for h in server.headers)


async def test_cookies_are_not_kept(server: Server) -> None:
    server.script = answers(body={}, set_cookie="a=1")
    async with posting(server.url) as post:
        await post.send({}, 5.0)
        await post.send({}, 5.0)
    assert "cookie" not in server.headers[1]


async def test_time_is_bounded_in_all_also_while_the_body_trickles(server: Server) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    async with posting(server.url) as post:
        for script in (hangs(), trickle):
            server.script = script
            server.gone.clear()
            with pytest.raises(TimeoutError):
                await post.send({}, 0.1)
            await asyncio.wait_for(server.gone.wait(), 2)


async def test_waiting_for_a_free_connection_is_bounded_by_the_connect_time_out() -> None:
    came = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await reader.read()
        writer.close()

    async with raw_server(hang) as url:
        post = PlainPost(url, {}, connect_timeout=0.05, connections=1)
        first = asyncio.create_task(post.send({}, 5.0))
        await asyncio.wait_for(came.wait(), 5)
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await post.send({}, 5.0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await post.aclose()


async def test_neither_repr_nor_error_shows_the_key(server: Server) -> None:
    server.script = answers(401, {"error": {"message": SECRET}}, x_echo=SECRET)
    async with posting(server.url) as post:
        with pytest.raises(Refused) as caught:
            await post.send({}, 5.0)
        assert caught.value.status == 401
        assert SECRET not in repr(post) + repr(caught.value) + str(caught.value)


async def test_a_text_that_is_not_unicode_is_the_callers_mistake(connect: Connect, server: Server) -> None:
    server.script = answers(body={})
    for protocol in ("openai", "anthropic"):
        request = Completion(
            call_id="c", messages=({"role": "user", "content": "\ud800"},), ref=ModelRef(protocol, "claude-haiku-4-5")
        )
        with pytest.raises(ProviderRejectedRequest):
            await connect(protocol).complete(request)
        with pytest.raises(ProviderError) as caught:
            async for _ in connect(protocol).stream(request):
                pass
        assert type(caught.value) is ProviderRejectedRequest
    assert server.bodies == []


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("http://api.example/v1", {"http_proxy": "http://proxy:1"}, "http://proxy:1"),
        ("https://api.example/v1", {"https_proxy": "http://proxy:2", "http_proxy": "http://proxy:1"}, "http://proxy:2"),
        ("https://api.example/v1", {"all_proxy": "http://proxy:3"}, "http://proxy:3"),
        ("https://api.example/v1", {"https_proxy": "http://proxy:2", "no_proxy": ".example"}, None),
        ("https://api.example/v1", {}, None),
    ],
)
def test_the_environment_s_proxy_is_obeyed(
    url: str, environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(URL(url)) == proxy
