"""Anthropic's Messages API behind OpenAI's terms."""

import httpx2
from anthropic import AnthropicError, AsyncAnthropic, AsyncStream, DefaultAioHttpClient

from gateway.clock import Clock
from gateway.providers.anthropic_reply import AnthropicStreamReader, translate_reply
from gateway.providers.anthropic_request import translate_request
from gateway.providers.dialect import EventStream, Outgoing, Parsed
from gateway.providers.plain_post import PlainPost
from gateway.providers.wire import WireProvider
from gateway.settings import ChainSettings, ProviderSettings
from gateway.types import Completion

_PATH = "/v1/messages"


class AnthropicConnection:
    """Whole answers by a plain request, streams by the SDK."""

    errors: tuple[type[Exception], ...] = (AnthropicError,)

    def __init__(self, client: AsyncAnthropic, *, connect_timeout: float) -> None:
        self._client = client
        self._connect_timeout = connect_timeout
        # API version and credentials as the SDK has them: both ways must ask for the same
        own = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
        headers = {name: value for name, value in own.items() if not name.lower().startswith("x-stainless")}
        url = str(client.base_url).rstrip("/") + _PATH
        self._plain = PlainPost(url, headers, connect_timeout=connect_timeout)

    async def ask(self, outgoing: Outgoing, seconds: float) -> bytes:
        return await self._plain.send(outgoing.body, seconds, outgoing.headers)

    async def listen(self, outgoing: Outgoing, seconds: float) -> EventStream:
        # the aiohttp transport reads "pool" as the whole of getting a connection: waiting, name lookup, handshake
        limits = httpx2.Timeout(seconds, connect=self._connect_timeout, pool=self._connect_timeout)
        return await self._client.post(
            _PATH,
            cast_to=object,
            body=outgoing.body,
            options={"timeout": limits, "headers": dict(outgoing.headers)},
            stream=True,
            stream_cls=AsyncStream[object],
        )

    async def aclose(self) -> None:
        await self._plain.aclose()
        await self._client.close()


class AnthropicDialect:
    """See ``anthropic_request`` for the way there and ``anthropic_reply`` for the way back."""

    def encode(self, request: Completion, *, stream: bool) -> Outgoing:
        return translate_request(request, stream=stream)

    def decode(self, payload: object) -> Parsed:
        return translate_reply(payload)

    def reader(self) -> AnthropicStreamReader:
        return AnthropicStreamReader()


def provider(name: str, settings: ProviderSettings, chain: ChainSettings, clock: Clock) -> WireProvider:
    """A provider by Anthropic's protocol at ``settings.base_url``."""
    client = AsyncAnthropic(
        # without an explicit key the SDK would look for credentials of its own in the environment and on disk
        api_key=settings.api_key.get_secret_value() or "none",
        base_url=settings.base_url or None,
        max_retries=0,
        open_telemetry=False,
        # a redirect could carry the key to another host
        http_client=DefaultAioHttpClient(follow_redirects=False),
    )
    connection = AnthropicConnection(client, connect_timeout=chain.connect_timeout)
    return WireProvider(name, connection, AnthropicDialect(), clock=clock)
