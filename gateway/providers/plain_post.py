"""One JSON request to one endpoint by plain aiohttp: a fraction of what an SDK's client costs for the same bytes."""

import urllib.request
from collections.abc import Mapping

import aiohttp
import httpx2
import msgspec
from multidict import CIMultiDict
from yarl import URL

MAX_CONNECTIONS = 512
MAX_ANSWER_BYTES = 32 * 1024 * 1024
_KEEP_ALIVE = 15.0
_NEVER = 1e9
_BUFFER = 1024 * 1024
"""Bytes of an answer that may wait to be read; a line of a stream may be twice as long."""


class Refused(Exception):
    """The server answered, and not with a success. ``body`` is decoded JSON, None where it is none.

    Neither headers nor body are part of the message: both may repeat a key or a prompt.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: object) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class AnswerTooLarge(Exception):
    """More than ``MAX_ANSWER_BYTES``, decompressed."""


class PlainPost:
    """POSTs JSON to ``url`` and gives back the bytes of the answer. For one event loop: the first call's.

    Connections are kept alive and bounded in number; ``connect_timeout`` (seconds) holds for waiting for a free one as
    for a new one. Redirects are not followed (they could carry the key to another host) and no cookie is kept. Proxies
    and certificates are found as the SDKs find them. Nothing is sent twice: a kept connection that the server closes
    while a request is on its way is an error like any other broken connection, and one that may be retried.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], *, connect_timeout: float, connections: int = MAX_CONNECTIONS
    ) -> None:
        self._url = URL(url)
        self._headers = CIMultiDict({"content-type": "application/json", "accept": "application/json"})
        self._headers.update(headers)
        self._connect_timeout = connect_timeout
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def send(self, body: Mapping[str, object], seconds: float, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of a successful answer, within ``seconds`` in all. ``headers`` win over those of the endpoint.

        Raises ``Refused``, ``AnswerTooLarge``, ``aiohttp.ClientError``, ``TimeoutError`` and ``UnicodeEncodeError``.
        Cancelling it closes the connection.
        """
        async with await self._post(body, headers, total=seconds) as response:
            answer = await _read(response)
            if 200 <= response.status < 300:
                return answer
            raise Refused(response.status, response.headers, _json(answer))

    async def listen(
        self, body: Mapping[str, object], silence: float, headers: Mapping[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        """A successful answer of which the body is still to come; ``close`` it. For the rest as ``send``.

        ``silence`` bounds the seconds between two pieces; the whole is the caller's to bound, in time and in size.
        """
        response = await self._post(body, headers, sock_read=silence)
        if 200 <= response.status < 300:
            return response
        async with response:
            raise Refused(response.status, response.headers, _json(await _read(response)))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(
        self,
        body: Mapping[str, object],
        headers: Mapping[str, str] | None,
        *,
        total: float | None = None,
        sock_read: float | None = None,
    ) -> aiohttp.ClientResponse:
        session = self._session or self._open()
        limits = aiohttp.ClientTimeout(
            total=total,
            connect=self._connect_timeout,
            sock_connect=self._connect_timeout,
            sock_read=sock_read,
            ceil_threshold=_NEVER,  # by default aiohttp rounds time-outs over 5 s up to whole seconds
        )
        return await session.post(
            self._url, data=msgspec.json.encode(body), headers=headers or None, allow_redirects=False, timeout=limits
        )

    def _open(self) -> aiohttp.ClientSession:
        secure = self._url.scheme == "https"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections,
                keepalive_timeout=_KEEP_ALIVE,
                # the SDKs' own choice of trusted certificates
                ssl=httpx2.create_ssl_context() if secure else True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_BUFFER,
            headers=self._headers,
            proxy=environment_proxy(self._url),  # aiohttp's own look-up starts a thread for every request
        )
        return self._session


def environment_proxy(url: URL) -> str | None:
    """The proxy that the environment names for ``url`` (``HTTPS_PROXY``, ``NO_PROXY`` ...)."""
    if not url.host or urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    first = await response.content.readany()
    size = len(first)
    pieces = [first]
    while piece := await response.content.readany():
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise AnswerTooLarge(f"more than {MAX_ANSWER_BYTES} bytes")
        pieces.append(piece)
    return first if len(pieces) == 1 else b"".join(pieces)


def _json(answer: bytes) -> object:
    try:
        return msgspec.json.decode(answer)
    except ValueError:
        return None
