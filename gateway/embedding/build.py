"""Which embedder the settings ask for."""

from gateway.embedding.base import Embedder
from gateway.embedding.lexical import LexicalEmbedder
from gateway.settings import Settings
from gateway.types import ModelRef


def build_embedder(settings: Settings) -> Embedder:
    """Raises ``ValueError`` when the embedding model names no known provider, or one that has no embeddings."""
    if settings.embedder == "lexical":
        return LexicalEmbedder()
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
    return OpenAIEmbedder(
        provider=ref.provider,
        model=ref.model,
        base_url=provider.base_url,
        api_key=provider.api_key.get_secret_value(),
        timeout=settings.chain.first_token_timeout,
        connect_timeout=settings.chain.connect_timeout,
    )
