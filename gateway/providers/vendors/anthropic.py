"""Anthropic's Messages API behind OpenAI's terms."""

import httpx2
from anthropic import AnthropicError, AsyncAnthropic, AsyncStream, DefaultAioHttpClient

from gateway.clock import Clock
from gateway.providers.anthropic_reply import AnthropicStreamReader, translate_reply
from gateway.providers.anthropic_request import translate_request
from gateway.providers.dialect import EventStream, Outgoing, Parsed
from gateway.providers.wire import WireProvider
from gateway.settings import ChainSettings, ProviderSettings
from gateway.types import Completion

_PATH = "/v1/messages"


class AnthropicConnection:
    """The SDK's public ``post`` with raw types: half the time of its typed call."""

    errors: tuple[type[Exception], ...] = (AnthropicError,)

    def __init__(self, client: AsyncAnthropic) -> None:
        self._client = client

    async def ask(self, outgoing: Outgoing, limits: httpx2.Timeout) -> bytes:
        response = await self._client.post(
            _PATH,
            cast_to=httpx2.Response,
            body=outgoing.body,
            options={"timeout": limits, "headers": dict(outgoing.headers)},
        )
        return response.content

    async def listen(self, outgoing: Outgoing, limits: httpx2.Timeout) -> EventStream:
        return await self._client.post(
            _PATH,
            cast_to=object,
            body=outgoing.body,
            options={"timeout": limits, "headers": dict(outgoing.headers)},
            stream=True,
            stream_cls=AsyncStream[object],
        )

    async def aclose(self) -> None:
        await self._client.close()


class AnthropicDialect:
    """See ``anthropic_request`` for the way there and ``anthropic_reply`` for the way back."""

    def encode(self, request: Completion, *, stream: bool) -> Outgoing:
        return translate_request(request, stream=stream)

    def decode(self, payload: object) -> Parsed:
        return translate_reply(payload)

    def reader(self) -> AnthropicStreamReader:
        return AnthropicStreamReader()


def anthropic_provider(name: str, settings: ProviderSettings, chain: ChainSettings, clock: Clock) -> WireProvider:
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
    return WireProvider(
        name, AnthropicConnection(client), AnthropicDialect(), clock=clock, connect_timeout=chain.connect_timeout
    )
