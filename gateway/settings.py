"""The only reader of the environment. Each model is also the shape of a Prefect block (see ``blocks/``).

Variables carry the prefix ``PROMPTYARD_``; the providers' own variables (``OPENAI_API_KEY``, ``OPENAI_BASE_URL``,
``ANTHROPIC_API_KEY``, ``ANTHROPIC_BASE_URL``) are honoured under their usual names.
"""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ProviderSettings(BaseModel):
    """How one provider is reached. ``protocol`` names the wire protocol, so any compatible server fits."""

    model_config = ConfigDict(extra="forbid")

    protocol: str = Field("openai", pattern="^[a-z][a-z0-9_]*$", description="A module of gateway/providers/vendors.")
    base_url: str = ""
    api_key: SecretStr = SecretStr("")


class ChainSettings(BaseModel):
    """Time-outs in seconds and bounds of the provider chain; a prompt's own values win."""

    connect_timeout: float = Field(2.0, gt=0, le=10, description="Seconds until a connection must stand.")
    first_token_timeout: float = Field(10.0, gt=0, le=60, description="Seconds until an answer must begin.")
    total_timeout: float = Field(30.0, gt=0, le=60, description="Seconds that a call may take in all.")
    max_attempts_per_link: int = Field(2, ge=1, le=5, description="Tries of one model before the next.")
    retry_budget_ratio: float = Field(0.2, ge=0, le=1, description="Retries allowed as a share of calls.")
    backoff_base: float = Field(0.1, gt=0, description="Seconds of the first pause between tries.")
    backoff_cap: float = Field(2.0, gt=0, description="Seconds of the longest pause.")
    breaker_failures: int = Field(5, ge=1, description="Failures in a row that open a breaker.")
    breaker_cooldown: float = Field(3.0, gt=0, description="Seconds until an open breaker lets one probe through.")


class LimitSettings(BaseModel):
    """How rate limits and budgets are kept; the limits themselves are the key's, the prompt's and the model's."""

    assumed_max_output_tokens: int = Field(
        4096, ge=1, description="Output reserved for a call that bounds none itself."
    )
    unknown_price_usd_per_mtok: float = Field(
        20.0, ge=0, description="What a million tokens of a model without a known price count in budgets."
    )
    budget_allowance_usd: float = Field(
        1.0, ge=0, description="What a worker may spend of each budget while the state Redis is down."
    )
    reservation_margin: float = Field(30.0, gt=0, description="Seconds a reservation outlives its call's longest time.")
    background_wait: float = Field(30.0, ge=0, description="Seconds a background call waits for its turn.")
    background_waiters: int = Field(256, ge=0, description="Background calls per worker that may wait at once.")
    warn_at: float = Field(0.8, gt=0, le=1, description="Share of a limit or budget at which people are told.")


class SqlSettings(BaseModel):
    """How SQL is reached. What is not set of the three last ones is ``sql_timeout``."""

    model_config = ConfigDict(frozen=True)

    sql_timeout: float = Field(5.0, gt=0, description="Seconds a statement may wait for a lock.")
    sql_pool_size: int = Field(5, ge=1, description="Connections a process keeps open.")
    sql_max_overflow: int = Field(5, ge=0, description="Connections it may open beyond, closed after use.")
    sql_pool_recycle: float = Field(1800.0, gt=0, description="Seconds until a server's connection is made anew.")
    sql_pool_pre_ping: bool = Field(True, description="Ask a pooled connection to a server whether it is alive.")
    sql_pool_timeout: float | None = Field(None, gt=0, description="Seconds to wait for a free connection.")
    sql_connect_timeout: float | None = Field(None, gt=0, description="Seconds until a connection must stand.")
    sql_statement_timeout: float | None = Field(None, gt=0, description="Seconds a statement may take on a server.")


class ModelLimits(BaseModel):
    """What a provider allows of one model, for all keys together; None is without limit."""

    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)


class Settings(BaseSettings, SqlSettings):
    """The gateway's configuration, filled from the environment."""

    model_config = SettingsConfigDict(
        env_prefix="PROMPTYARD_", env_nested_delimiter="__", extra="ignore", populate_by_name=True, frozen=False
    )

    home: Path = Field(Path(".promptyard"), description="Where local state lives.")
    host: str = Field("127.0.0.1", description="Servers bind to loopback unless told otherwise.")
    port: int = 8080
    workers: int = Field(
        1, ge=1, le=64, description="Processes that answer calls on the port; one that dies is replaced."
    )
    database_url: str = Field("", description="SQL of the ledger; SQLite under home by default.")
    cache_redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Answers; may be emptied at any moment. Also redis+sentinel:// and redis+cluster:// (both URLs).",
    )
    state_redis_url: str = Field("redis://127.0.0.1:6380/0", description="Routing, epochs, limits; noeviction and AOF.")
    redis_timeout: float = Field(0.25, gt=0, description="Seconds a Redis command may take before we go on without it.")
    redis_connections: int = Field(
        64, ge=8, description="Connections per worker to each Redis, or each node; some are kept for subscriptions."
    )

    openai_api_key: SecretStr = Field(SecretStr(""), validation_alias=AliasChoices("OPENAI_API_KEY"))
    openai_base_url: str = Field(
        "https://api.openai.com/v1", validation_alias=AliasChoices("PROMPTYARD_OPENAI_BASE_URL", "OPENAI_BASE_URL")
    )
    anthropic_api_key: SecretStr = Field(SecretStr(""), validation_alias=AliasChoices("ANTHROPIC_API_KEY"))
    anthropic_base_url: str = Field(
        "https://api.anthropic.com",
        validation_alias=AliasChoices("PROMPTYARD_ANTHROPIC_BASE_URL", "ANTHROPIC_BASE_URL"),
    )
    providers: dict[str, ProviderSettings] = Field(
        default_factory=dict, description="Further providers by name (JSON): any OpenAI-compatible server."
    )
    chain: ChainSettings = Field(default_factory=lambda: ChainSettings())
    limits: LimitSettings = Field(default_factory=lambda: LimitSettings())
    model_limits: dict[str, ModelLimits] = Field(
        default_factory=dict, description="Limits of providers' models (JSON), such as by 'openai/gpt-4.1-mini'."
    )

    local_cache_bytes: int = Field(
        32 * 1024 * 1024,
        ge=0,
        description="Memory of a worker's own for answers of prompts with cache.local.on or cache.place: process.",
    )

    embedder: Literal["lexical", "openai", "local"] = "lexical"
    embedding_model: str = "openai/text-embedding-3-small"
    embedding_local_model: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        max_length=90,
        description="What 'local' embeds with, as fastembed names it (the extra 'local').",
    )
    embedding_folder: str = Field(
        "", description="Folder with the files of the local model; empty: fastembed downloads them once."
    )

    tools: list[str] = Field(
        default_factory=list, description="Modules (JSON) whose tools models may call, beside the built-in ones."
    )

    max_body_bytes: int = Field(1_000_000, ge=1_000)
    max_in_flight: int = Field(512, ge=1, description="Calls in flight per worker; beyond, 503 with Retry-After.")
    key_cache_ttl: float = Field(
        2.0, gt=0, description="Seconds a checked key is trusted: a revocation's longest delay."
    )
    ledger_content: Literal["on", "off"] = Field(
        "on", description="Keep questions and answers. Off turns scoring, warming and drift off."
    )
    spool_max_bytes: int = Field(512_000_000, ge=1_000_000, description="Undelivered ledger records a worker may hold.")
    heartbeat_ttl: float = Field(3.0, gt=0)
    conversation_turns: int = Field(20, ge=0, description="Turns of a held conversation that the model sees, at most.")
    conversation_chars: int = Field(40_000, ge=0, description="Characters of these turns, at most: the oldest go.")
    conversation_retention: float = Field(2_592_000.0, gt=0, description="Seconds that a turn of one is kept.")
    job_max_items: int = Field(10_000, ge=1, le=100_000, description="Items that one job may have.")
    job_max_open: int = Field(20, ge=1, description="Jobs of a tenant that may be unfinished at once.")
    job_retention: float = Field(604_800.0, gt=0, description="Seconds that a finished job and its results are kept.")
    import_root: str = Field(
        "", description="Folder on the control plane's disk that jobs may import from, by tenant; empty: none may."
    )
    prefect_api_url: str = Field("", description="Where the outbox posts events; empty keeps them in the outbox.")
    otlp_endpoint: str = Field(
        "", description="Where spans go (OTLP over HTTP), such as http://127.0.0.1:5000/v1/traces; empty: nowhere."
    )
    otlp_headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="JSON; MLflow wants x-mlflow-experiment-id."
    )
    trace_ratio: float = Field(0.01, ge=0, le=1, description="Share of the calls that are traced.")
    trace_content: Literal["on", "off"] = Field("off", description="Put questions and answers into spans.")
    log_format: Literal["text", "json"] = "text"
    mlflow_tracking_uri: str = Field("", description="MLflow server of the control plane.")
    alert_webhook_url: SecretStr = SecretStr("")
    tenant: str = Field("default", description="The tenant that command-line calls act for.")
    task_runner: Literal["threads", "dask"] = Field("threads", description="Over what an evaluation fans out.")
    task_workers: int = Field(4, ge=1, le=256, description="Threads of an evaluation, or processes with dask.")
    dask_scheduler: str = Field("", description="Address of a running Dask cluster; empty: one on this machine.")

    @property
    def sql_url(self) -> str:
        return self.database_url or f"sqlite:///{(self.home / 'ledger.db').resolve()}"

    @property
    def sql(self) -> SqlSettings:
        return SqlSettings(**{name: getattr(self, name) for name in SqlSettings.model_fields})

    @property
    def spool_directory(self) -> Path:
        return self.home / "spool"

    @property
    def routing_snapshot(self) -> Path:
        return self.home / "routing.json"

    def provider_settings(self) -> dict[str, ProviderSettings]:
        """Every provider that can be named in a chain."""
        known = {
            "openai": ProviderSettings(protocol="openai", base_url=self.openai_base_url, api_key=self.openai_api_key),
            "anthropic": ProviderSettings(
                protocol="anthropic", base_url=self.anthropic_base_url, api_key=self.anthropic_api_key
            ),
        }
        return known | self.providers
