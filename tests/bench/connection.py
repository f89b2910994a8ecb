"""A lean HTTP client: keep-alive connections that take ready-made bytes, so that measuring costs little itself.

A closed loop of ``aiohttp`` costs the load generator more CPU than a cached answer costs the gateway.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools
from msgspec import Struct


class Exchange(Struct):
    """One request and what came of it. Times are of ``time.perf_counter``; status 0: the connection broke."""

    begun: float
    status: int = 0
    first_byte: float = 0.0
    """Of the body."""
    ended: float = 0.0
    body: bytes = b""


def post_request(url: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """The bytes of a POST of JSON. With a ``%09d`` in the body, ``request % n`` is the n-th of a series."""
    parts = urlsplit(url)
    length = len(body % 0) if b"%09d" in body else len(body)
    lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join([*lines, f"content-length: {length}"]) + "\r\n\r\n").encode() + body


class Connection(asyncio.Protocol):
    """One exchange at a time; ``over`` is told of each. Reusable until ``is_open`` is false."""

    def __init__(self, over: Callable[["Connection", Exchange], None]) -> None:
        self._over = over
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._pieces: list[bytes] = []

    @classmethod
    async def open(cls, url: str, over: Callable[["Connection", Exchange], None]) -> "Connection":
        """Raises ``OSError``."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(over), parts.hostname or "", parts.port or 80)
        return connection

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes, begun: float | None = None) -> None:
        """Send. ``begun`` is when the request was due, if that is not now."""
        assert self._transport is not None
        assert self._exchange is None
        self._exchange = Exchange(time.perf_counter() if begun is None else begun)
        self._pieces.clear()
        self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by type

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._exchange is not None:
            self._finish(0)

    def on_body(self, piece: bytes) -> None:
        if not self._pieces and self._exchange is not None:
            self._exchange.first_byte = time.perf_counter()
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        self._finish(status)

    def _finish(self, status: int) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        exchange.status = status
        exchange.ended = time.perf_counter()
        exchange.body = b"".join(self._pieces)
        self._over(self, exchange)


class Caller:
    """One connection whose exchanges are awaited one after the other."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[Exchange] | None = None
        self._connection: Connection | None = None

    async def ask(self, url: str, request: bytes) -> Exchange:
        """Raises ``OSError`` when there is no connection to be had."""
        if self._connection is None or not self._connection.is_open:
            self._connection = await Connection.open(url, self._over)
        self._answer = asyncio.get_running_loop().create_future()
        self._connection.ask(request)
        return await self._answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _over(self, _: Connection, exchange: Exchange) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(exchange)
