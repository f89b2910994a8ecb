"""One endpoint of OpenAI's or Anthropic's SDK: both are generated to one shape, so one connection serves both."""

from collections.abc import Mapping
from typing import Any, Protocol

import httpx2

from gateway.providers.dialect import EventStream, Outgoing
from gateway.providers.plain_post import PlainPost


class Client(Protocol):
    """What is used of ``AsyncOpenAI`` and ``AsyncAnthropic``."""

    @property
    def base_url(self) -> Any: ...
    @property
    def default_headers(self) -> Any: ...
    @property
    def post(self) -> Any: ...
    async def close(self) -> None: ...


class SdkConnection:
    """Whole answers by a plain request, streams by the SDK; both ask with the credentials that the SDK has."""

    def __init__(
        self,
        client: Client,
        path: str,
        stream_class: Any,
        errors: tuple[type[Exception], ...],
        *,
        connect_timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``headers``: what the SDK's default ones lack."""
        self.errors = errors
        self._client = client
        self._path = path
        self._stream_class = stream_class
        self._connect_timeout = connect_timeout
        own = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
        sent = {name: value for name, value in own.items() if not name.lower().startswith("x-stainless")}
        url = str(client.base_url).rstrip("/") + path
        self._plain = PlainPost(url, {**sent, **(headers or {})}, connect_timeout=connect_timeout)

    async def ask(self, outgoing: Outgoing, seconds: float) -> bytes:
        return await self._plain.send(outgoing.body, seconds, outgoing.headers)

    async def listen(self, outgoing: Outgoing, seconds: float) -> EventStream:
        # the aiohttp transport reads "pool" as the whole of getting a connection: waiting, name lookup, handshake
        limits = httpx2.Timeout(seconds, connect=self._connect_timeout, pool=self._connect_timeout)
        events: EventStream = await self._client.post(
            self._path,
            cast_to=object,
            body=outgoing.body,
            options={"timeout": limits, "headers": dict(outgoing.headers)},
            stream=True,
            stream_cls=self._stream_class,
        )
        return events

    async def aclose(self) -> None:
        await self._plain.aclose()
        await self._client.close()
