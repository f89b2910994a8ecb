"""Which embedder the settings ask for, and which embedding models they let callers name."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.clock import Clock
from gateway.embedding.base import Embedder, EmbeddingModel, Options
from gateway.embedding.batching import MicroBatcher
from gateway.embedding.catalogue import LEXICAL, Catalogue, MakeModel
from gateway.embedding.lexical import LexicalEmbedder
from gateway.embedding.resilient import Budget, Circuit, Resilient
from gateway.settings import ChainSettings, ProviderSettings, Settings
from gateway.types import ModelRef

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_MOST_CIRCUITS = 1024


def build_embedder(settings: Settings) -> Embedder:
    """What searches and documents are embedded by; a remote one asks once for what is asked at the same moment.

    Nothing is tried again: a search has no time for it, and a document write is repeated by its caller.
    A local one is loaded, which may download it. Raises ``ValueError`` when the embedding model names no known provider
    or one that has no embeddings, and when a local one cannot be loaded.
    """
    if settings.embedder == "lexical":
        return LexicalEmbedder()
    if settings.embedder == "local":
        from gateway.embedding.local_model import load_local_embedder  # asks for an extra

        folder = Path(settings.embedding_folder) if settings.embedding_folder else None
        return load_local_embedder(settings.embedding_local_model, folder)
    from gateway.embedding.openai_endpoint import OpenAIEmbedder  # the SDK takes a second to import

    ref = ModelRef.parse(settings.embedding_model)
    known = settings.provider_settings()
    provider = known.get(ref.provider)
    if provider is None or provider.protocol != "openai":
        fitting = ", ".join(sorted(name for name, one in known.items() if one.protocol == "openai"))
        raise ValueError(
            f"PROMPTYARD_EMBEDDING_MODEL={settings.embedding_model!r}: {ref.provider!r} is no provider with OpenAI's "
            f"protocol; there are: {fitting}"
        )
    client = _open(provider, settings.chain)
    return MicroBatcher(OpenAIEmbedder(provider=ref.provider, model=ref.model, client=client))


def build_catalogue(
    settings: Settings, *, circuit: Callable[[], Circuit], budget: Budget, clock: Clock, entropy: random.Random
) -> Catalogue:
    """Models of every provider with OpenAI's protocol: in small batches, tried again, each behind its breaker.

    ``circuit`` makes a closed breaker; all models share the retry budget. Does no I/O.
    """
    makers: dict[str, MakeModel] = {}
    closing: list[Callable[[], Awaitable[None]]] = []
    for name, provider in settings.provider_settings().items():
        if provider.protocol == "openai":
            client = _open(provider, settings.chain)
            makers[name] = _maker(client, settings.chain, circuit, budget, clock, entropy)
            closing.append(client.close)
    default = ModelRef.parse(settings.embedding_model) if settings.embedder == "openai" else LEXICAL
    return Catalogue(makers, default=default, closing=closing)


def _maker(
    client: "AsyncOpenAI",
    bounds: ChainSettings,
    circuit: Callable[[], Circuit],
    budget: Budget,
    clock: Clock,
    entropy: random.Random,
) -> MakeModel:
    from gateway.embedding.openai_endpoint import OpenAIEmbedder

    circuits: dict[str, Circuit] = {}

    def make(ref: ModelRef, options: Options) -> EmbeddingModel:
        if ref.model not in circuits:
            if len(circuits) >= _MOST_CIRCUITS:  # callers may name any model: the table must not grow with them
                circuits.pop(next(iter(circuits)))
            circuits[ref.model] = circuit()
        endpoint = OpenAIEmbedder(provider=ref.provider, model=ref.model, client=client, options=options)
        breaker = circuits[ref.model]
        resilient = Resilient(endpoint, ref, bounds, circuit=breaker, budget=budget, clock=clock, entropy=entropy)
        return MicroBatcher(resilient)

    return make


def _open(provider: ProviderSettings, chain: ChainSettings) -> "AsyncOpenAI":
    from gateway.embedding.openai_endpoint import open_client

    return open_client(
        base_url=provider.base_url,
        api_key=provider.api_key.get_secret_value(),
        timeout=chain.first_token_timeout,
        connect_timeout=chain.connect_timeout,
    )
