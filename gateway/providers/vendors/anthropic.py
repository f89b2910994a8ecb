"""Anthropic's Messages API behind OpenAI's terms."""

from anthropic import AsyncAnthropic

from gateway.clock import Clock
from gateway.providers.anthropic_reply import AnthropicStreamReader, translate_reply
from gateway.providers.anthropic_request import translate_request
from gateway.providers.dialect import Outgoing, Parsed
from gateway.providers.sdk_endpoint import connection_to
from gateway.providers.wire import WireProvider
from gateway.settings import ChainSettings, ProviderSettings
from gateway.types import Completion

_PATH = "/v1/messages"


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
        open_telemetry=False,
    )
    connection = connection_to(client, _PATH, connect_timeout=chain.connect_timeout)
    return WireProvider(name, connection, AnthropicDialect(), clock=clock)
