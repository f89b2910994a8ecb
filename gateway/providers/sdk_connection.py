"""One endpoint of OpenAI's or Anthropic's SDK: both are generated to one shape, so one connection serves both."""

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.providers.dialect import EventStream, Outgoing
from gateway.providers.json_connection import Events
from gateway.providers.plain_post import PlainPost


class Client(Protocol):
    """What is used of ``AsyncOpenAI`` and ``AsyncAnthropic``."""

    @property
    def base_url(self) -> Any: ...
    @property
    def default_headers(self) -> Any: ...
    async def close(self) -> None: ...


class SdkConnection:
    """Plain requests to where the SDK would send them, with the headers and credentials that it has.

    What the SDK does between its call and the wire costs several times what the wire costs.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        errors: tuple[type[Exception], ...],
        *,
        connect_timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``headers``: what the SDK's default ones lack."""
        self.errors = errors
        self._client = client
        own = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
        sent = {name: value for name, value in own.items() if not name.lower().startswith("x-stainless")}
        url = str(client.base_url).rstrip("/") + path
        self._plain = PlainPost(url, {**sent, **(headers or {})}, connect_timeout=connect_timeout)

    async def ask(self, outgoing: Outgoing, seconds: float) -> bytes:
        return await self._plain.send(outgoing.body, seconds, outgoing.headers)

    async def listen(self, outgoing: Outgoing, seconds: float) -> EventStream:
        return Events(await self._plain.listen(outgoing.body, seconds, outgoing.headers))

    async def aclose(self) -> None:
        await self._plain.aclose()
        await self._client.close()
