"""The head of a request is bounded in size and time, before anybody is asked for a key."""

import socket
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway import http_server
from gateway.http_server import BoundedHttp
from tests.server_thread import ServerThread, listen


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the size of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.3)
    config = uvicorn.Config(echo, http=BoundedHttp, log_level="error", lifespan="off")
    server = ServerThread(uvicorn.Server(config), listen())
    server.start()
    host, port = server.url.removeprefix("http://").split(":")
    yield host, int(port)
    server.stop()


def everything(connection: socket.socket) -> bytes:
    pieces = []
    try:
        while piece := connection.recv(65_536):
            pieces.append(piece)
    except ConnectionResetError:
        pass  # closed with our bytes unread
    return b"".join(pieces)


def test_a_flood_of_headers_is_refused(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=5) as connection:
        sent = 0
        try:
            connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\n")
            while sent < 50_000_000:
                sent += connection.send(b"x-flood: " + b"a" * 8_000 + b"\r\n")
        except OSError:
            pass  # refused while sending
    assert sent < 20_000_000


def test_a_head_that_is_too_large_gets_431(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * (http_server.MOST_HEAD_BYTES + 1))
        assert everything(connection).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("begun", [b"", b"POST / HTTP/1.1\r\nhost:"], ids=["silent", "half a head"])
def test_who_sends_no_head_is_cut_off(address: tuple[str, int], begun: bytes) -> None:
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(begun)
        assert everything(connection) == b""


def test_a_large_body_and_many_requests_on_one_connection_are_fine(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=5) as connection:
        for size in (0, 300_000, 10, 200_000):
            connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"b" * size)
            answer = b""
            while not answer.endswith(b"\r\n\r\n%d" % size):
                piece = connection.recv(65_536)
                assert piece, answer
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200 ")
