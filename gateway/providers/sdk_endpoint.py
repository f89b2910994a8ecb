"""Where OpenAI's and Anthropic's SDKs would send a request, and with which headers; plain requests go there."""

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.providers.json_connection import JsonConnection


class Client(Protocol):
    """What is used of ``AsyncOpenAI`` and ``AsyncAnthropic``."""

    @property
    def base_url(self) -> Any: ...
    @property
    def default_headers(self) -> Any: ...


def connection_to(
    client: Client, path: str, *, connect_timeout: float, headers: Mapping[str, str] | None = None
) -> JsonConnection:
    """A connection with the SDK's address, credentials and protocol version; ``headers``: what its default ones lack.

    What an SDK does between its call and the wire costs several times what the wire costs.
    """
    own = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
    sent = {name: value for name, value in own.items() if not name.lower().startswith("x-stainless")}
    url = str(client.base_url).rstrip("/") + path
    return JsonConnection(url, {**sent, **(headers or {})}, connect_timeout=connect_timeout)
