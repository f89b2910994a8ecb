"""How LLM providers are reached, and how a chain of them behaves."""

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from gateway.settings import ChainSettings


class ProviderCredentials(Block):
    """Keys and addresses of the LLM providers. Empty addresses mean the providers' own.

    Example:
        ```python
        from blocks.providers import ProviderCredentials
        credentials = ProviderCredentials.load("default")
        ```
    """

    _block_type_name: ClassVar[str] = "promptyard: provider credentials"
    _block_type_slug: ClassVar[str] = "promptyard-provider-credentials"
    _description: ClassVar[str] = "Keys and addresses of OpenAI, Anthropic and compatible servers."

    openai_api_key: SecretStr = Field(SecretStr(""), description="Key for OpenAI or a compatible server.")
    openai_base_url: str = Field("https://api.openai.com/v1", description="Address, with /v1.")
    anthropic_api_key: SecretStr = Field(SecretStr(""), description="Key for Anthropic.")
    anthropic_base_url: str = Field("https://api.anthropic.com", description="Address, without /v1.")


class ProviderChain(Block, ChainSettings):
    """Time-outs (seconds), retries and breakers of the provider chain; a prompt's own values win.

    Example:
        ```python
        from blocks.providers import ProviderChain
        chain = ProviderChain.load("default")
        ```
    """

    _block_type_name: ClassVar[str] = "promptyard: provider chain"
    _block_type_slug: ClassVar[str] = "promptyard-provider-chain"
    _description: ClassVar[str] = "Time-outs, bounded retries and breakers of the fallback chain."
