"""Where the ledger, the caches, the prompt registry and the alert channel are."""

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr

from gateway.settings import SqlSettings


class Ledger(Block, SqlSettings):
    """The SQL database of calls, scores, prompts and releases, and how it is reached.

    The address may hold a password, so it is secret.

    Example:
        ```python
        from blocks.connections import Ledger
        ledger = Ledger.load("default")
        ```
    """

    model_config = ConfigDict(frozen=False)

    _block_type_name: ClassVar[str] = "promptyard: ledger"
    _block_type_slug: ClassVar[str] = "promptyard-ledger"
    _description: ClassVar[str] = "SQL database of calls, scores, prompts and releases."

    database_url: SecretStr = Field(SecretStr(""), description="SQLAlchemy URL; empty: SQLite under home.")
    home: str = Field(".promptyard", description="Folder of local state: spool and default database.")
    tenant: str = Field("default", description="The tenant that flows act for unless told otherwise.")


class Cache(Block):
    """The two Redis roles. Never one server under pressure: answers may be evicted, state may not.

    Example:
        ```python
        from blocks.connections import Cache
        cache = Cache.load("default")
        ```
    """

    _block_type_name: ClassVar[str] = "promptyard: cache"
    _block_type_slug: ClassVar[str] = "promptyard-cache"
    _description: ClassVar[str] = "Redis for answers (allkeys-lru) and Redis for state (noeviction, AOF)."

    cache_redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="Answers.")
    state_redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6380/0"), description="Routing, epochs, limits.")
    redis_timeout: float = Field(0.25, gt=0, description="Seconds until a command is given up.")


class PromptRegistry(Block):
    """The MLflow server that keeps prompts and experiments.

    Example:
        ```python
        from blocks.connections import PromptRegistry
        registry = PromptRegistry.load("default")
        ```
    """

    _block_type_name: ClassVar[str] = "promptyard: prompt registry"
    _block_type_slug: ClassVar[str] = "promptyard-prompt-registry"
    _description: ClassVar[str] = "MLflow server of prompts, evaluations and releases."

    tracking_uri: str = Field("", description="MLflow tracking URI; empty turns MLflow off.")


class AlertChannel(Block):
    """Where alerts go: a webhook that takes JSON with a 'text' field (Slack, Mattermost, Teams), and always the log.

    Example:
        ```python
        from blocks.connections import AlertChannel
        channel = AlertChannel.load("default")
        ```
    """

    _block_type_name: ClassVar[str] = "promptyard: alert channel"
    _block_type_slug: ClassVar[str] = "promptyard-alert-channel"
    _description: ClassVar[str] = "Webhook for drift, cost and release alerts."

    webhook_url: SecretStr = Field(SecretStr(""), description="Empty: alerts are only logged and kept as events.")
