"""All blocks of a workspace: saved from the gateway's settings, loaded once per run into the same settings."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from prefect.blocks.core import Block
from pydantic import SecretStr

from blocks.connections import AlertChannel, Cache, Ledger, PromptRegistry
from blocks.policies import CanaryPolicy, GatePolicy
from blocks.providers import ProviderChain, ProviderCredentials
from gateway.settings import ChainSettings, Settings, SqlSettings

NAME = "default"
ALL: tuple[type[Block], ...] = (
    ProviderCredentials,
    ProviderChain,
    Ledger,
    Cache,
    PromptRegistry,
    AlertChannel,
    GatePolicy,
    CanaryPolicy,
)
B = TypeVar("B", bound=Block)


@dataclass(frozen=True)
class Workspace:
    """What a run needs to know: the settings, and the policies' defaults as sections of a prompt.yaml."""

    settings: Settings
    policy_defaults: dict[str, Any] = field(default_factory=dict)


def save_workspace(settings: Settings, name: str = NAME) -> list[str]:
    """Save the connection blocks from the settings; policies that people may have edited are only created.

    Returns the slugs of the blocks that were saved.
    """
    connections: list[Block] = [
        ProviderCredentials(
            openai_api_key=settings.openai_api_key,
            openai_base_url=settings.openai_base_url,
            anthropic_api_key=settings.anthropic_api_key,
            anthropic_base_url=settings.anthropic_base_url,
        ),
        ProviderChain(**settings.chain.model_dump()),
        Ledger(
            database_url=SecretStr(settings.sql_url),
            home=str(settings.home.resolve()),
            tenant=settings.tenant,
            **settings.sql.model_dump(),
        ),
        Cache(
            cache_redis_url=SecretStr(settings.cache_redis_url),
            state_redis_url=SecretStr(settings.state_redis_url),
            redis_timeout=settings.redis_timeout,
        ),
        PromptRegistry(tracking_uri=settings.mlflow_tracking_uri),
        AlertChannel(webhook_url=settings.alert_webhook_url),
    ]
    for block in connections:
        block.save(name, overwrite=True)
    policies: list[Block] = [GatePolicy(), CanaryPolicy()]
    created = [block for block in policies if _load(type(block), name) is None]
    for block in created:
        block.save(name)
    return [str(block._block_type_slug) for block in connections + created]


@lru_cache(maxsize=4)
def load_workspace(name: str = NAME) -> Workspace:
    """The workspace as Prefect's blocks say it; a block that was never saved leaves the environment's value."""
    settings = Settings()
    values: dict[str, Any] = {}
    if credentials := _load(ProviderCredentials, name):
        for key in ("openai_api_key", "openai_base_url", "anthropic_api_key", "anthropic_base_url"):
            values[key] = getattr(credentials, key)
    if chain := _load(ProviderChain, name):
        values["chain"] = ChainSettings(**{key: getattr(chain, key) for key in ChainSettings.model_fields})
    if ledger := _load(Ledger, name):
        values["home"] = Path(ledger.home)
        values["tenant"] = ledger.tenant
        values["database_url"] = ledger.database_url.get_secret_value()
        values |= {key: getattr(ledger, key) for key in SqlSettings.model_fields}
    if cache := _load(Cache, name):
        values["cache_redis_url"] = cache.cache_redis_url.get_secret_value()
        values["state_redis_url"] = cache.state_redis_url.get_secret_value()
        values["redis_timeout"] = cache.redis_timeout
    if registry := _load(PromptRegistry, name):
        values["mlflow_tracking_uri"] = registry.tracking_uri
    if channel := _load(AlertChannel, name):
        values["alert_webhook_url"] = channel.webhook_url
    defaults: dict[str, Any] = {}
    if gate := _load(GatePolicy, name):
        defaults["gate"] = gate.defaults()
    if canary := _load(CanaryPolicy, name):
        defaults["canary"] = canary.defaults()
    return Workspace(settings.model_copy(update=values), defaults)


def _load(kind: type[B], name: str) -> B | None:
    try:
        # A block of which another process has saved a newer schema still loads: unknown fields are left out.
        return cast(B, kind.load(name, validate=False, _sync=True))  # type: ignore[call-arg]
    except ValueError:  # what Prefect raises for a block document that does not exist
        return None
