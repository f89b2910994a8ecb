"""Tables. Times are seconds since the epoch (float), money is US dollars, JSON columns hold plain JSON.

The truth is here; Redis' routing table and MLflow's aliases are projections of it.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, Integer, LargeBinary, Numeric, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Money = Numeric(18, 10).with_variant(Float(53, asdecimal=True, decimal_return_scale=10), "sqlite")
"""Decimals; SQLite has no such type and keeps a double, which holds ten places up to some 100,000 dollars."""
Key = String(200)


class Base(DeclarativeBase):
    """Root of all tables."""


class CallRow(Base):
    """One answered or failed call. Written once, by id; a second delivery changes nothing."""

    __tablename__ = "calls"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(Key)
    key_id: Mapped[str] = mapped_column(String(40), default="")
    origin: Mapped[str] = mapped_column(String(16))
    prompt: Mapped[str] = mapped_column(Key, default="")
    version: Mapped[str] = mapped_column(String(40), default="")
    release_id: Mapped[str] = mapped_column(String(40), default="")
    arm: Mapped[str] = mapped_column(String(40), default="")
    weight: Mapped[int] = mapped_column(Integer, default=0)
    """The arm's share when the call was routed, in basis points."""
    evidence: Mapped[bool] = mapped_column(default=False)
    """The user is in the evidence sample of an open release."""
    user: Mapped[str] = mapped_column(String(200), default="")
    started_at: Mapped[float] = mapped_column(Float)
    latency_ms: Mapped[float] = mapped_column(Float)
    first_token_ms: Mapped[float | None] = mapped_column(Float)
    streamed: Mapped[bool] = mapped_column(default=False)
    status: Mapped[str] = mapped_column(String(16))
    """``ok`` or ``failed``."""
    error: Mapped[str] = mapped_column(String(64), default="")
    layer: Mapped[str] = mapped_column(String(16), default="none")
    cache_reason: Mapped[str] = mapped_column(String(64), default="")
    provider: Mapped[str] = mapped_column(String(64), default="")
    model: Mapped[str] = mapped_column(Key, default="")
    fell_back: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    input_tokens: Mapped[int] = mapped_column(Integer, default=0)
    cached_input_tokens: Mapped[int] = mapped_column(Integer, default=0)
    output_tokens: Mapped[int] = mapped_column(Integer, default=0)
    cost_usd: Mapped[Decimal | None] = mapped_column(Money)
    """None: the price is unknown. 0 for an answer from the cache."""
    saved_usd: Mapped[Decimal | None] = mapped_column(Money)
    """What the provider would have charged, had the cache not answered."""
    price: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    documents: Mapped[list[str]] = mapped_column(Json, default=list)
    variables: Mapped[dict[str, Any] | None] = mapped_column(Json)
    question: Mapped[str | None] = mapped_column(Text)
    answer: Mapped[str | None] = mapped_column(Text)
    context: Mapped[str | None] = mapped_column(Text)
    """The passages that grounded the answer, as the model saw them."""
    kind: Mapped[str] = mapped_column(String(16), default="chat")
    """chat or embedding."""
    explanation: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    """What else the path decided, for ``GET /v1/calls/{id}``: milliseconds per stage, limits, tools, replays."""
    experiment: Mapped[str] = mapped_column(String(40), default="", server_default="")
    """Id of the experiment that routed the call."""
    segment: Mapped[str] = mapped_column(String(500), default="", server_default="")
    """The caller's, as the declared keys of a contextual experiment say it: ``plan=pro|language=de``."""
    propensity: Mapped[float | None] = mapped_column(Float)
    """With which the experiment drew its arm for the call; None where nobody drew: without a user, or a pinned call."""
    fell_back_from: Mapped[str] = mapped_column(String(40), default="", server_default="")
    """The version of the experiment's arm that was drawn and failed: ``version`` has answered in its place.

    A failure of that arm, and evidence about no other: ``weight`` and ``propensity`` are those of the failed arm.
    """
    mirrors: Mapped[str] = mapped_column(String(40), default="", server_default="")
    """Id of the live call that this one, of origin *mirror*, asked a release's candidate too."""

    __table_args__ = (
        Index("ix_calls_prompt_time", "tenant", "prompt", "started_at"),
        Index("ix_calls_release", "release_id", "started_at"),
        Index("ix_calls_experiment", "experiment", "started_at"),
        Index("ix_calls_time", "started_at"),
    )


class ScoreRow(Base):
    """A score in [0, 1] of a call. ``source`` is feedback, assertion or judge. Joined to calls on id *and* tenant."""

    __tablename__ = "scores"

    call_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    metric: Mapped[str] = mapped_column(String(64), primary_key=True)
    source: Mapped[str] = mapped_column(String(16), primary_key=True)
    tenant: Mapped[str] = mapped_column(Key, primary_key=True)
    value: Mapped[float] = mapped_column(Float)
    reason: Mapped[str] = mapped_column(Text, default="")
    scored_at: Mapped[float] = mapped_column(Float, index=True)
    judge: Mapped[str] = mapped_column(String(64), default="", server_default="")
    """The version of the judge; empty where people or assertions gave the score, and before versions were kept."""


class JudgeCalibrationRow(Base):
    """How a judge did on labelled examples, the last time that it was asked. ``right_from``: its score of a right one.

    Right answers that it found right or missed, wrong ones that it found wrong or took for right.
    """

    __tablename__ = "judge_calibrations"

    tenant: Mapped[str] = mapped_column(Key, primary_key=True)
    judge: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Its version."""
    model: Mapped[str] = mapped_column(String(200))
    right_from: Mapped[float] = mapped_column(Float)
    true_right: Mapped[int] = mapped_column(Integer)
    missed: Mapped[int] = mapped_column(Integer)
    true_wrong: Mapped[int] = mapped_column(Integer)
    false_right: Mapped[int] = mapped_column(Integer)
    calibrated_at: Mapped[float] = mapped_column(Float)


class SemanticPairRow(Base):
    """Two questions, the fresh answer to one and the kept answer to the other, and what the judge says of that."""

    __tablename__ = "semantic_pairs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """Of the call that was answered anew."""
    tenant: Mapped[str] = mapped_column(Key)
    prompt: Mapped[str] = mapped_column(Key)
    version: Mapped[str] = mapped_column(String(40))
    recipe: Mapped[str] = mapped_column(Key)
    asked: Mapped[str] = mapped_column(Text)
    kept: Mapped[str] = mapped_column(Text)
    similarity: Mapped[float] = mapped_column(Float)
    veto: Mapped[str] = mapped_column(String(24), default="")
    probability: Mapped[float] = mapped_column(Float, default=1.0)
    served: Mapped[bool] = mapped_column(default=False)
    fresh_answer: Mapped[str] = mapped_column(Text, default="")
    kept_answer: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[float] = mapped_column(Float)
    correct: Mapped[bool | None] = mapped_column(default=None)
    """Whether the kept answer answers the asked question too; None while it is not judged."""
    judged_at: Mapped[float | None] = mapped_column(Float)
    source: Mapped[str] = mapped_column(String(16), default="")
    """``same`` where both answers are the same text, ``judge`` elsewhere."""
    reason: Mapped[str] = mapped_column(Text, default="")
    tries: Mapped[int] = mapped_column(Integer, default=0)
    """How often the judge gave nothing readable."""

    __table_args__ = (
        Index("ix_semantic_pairs_scope", "tenant", "prompt", "version", "recipe", "judged_at"),
        Index("ix_semantic_pairs_judged", "judged_at", "at"),
    )


class SemanticVerdictRow(Base):
    """Whether the semantic layer may serve in a scope, and on what evidence. The gateways are told through Redis."""

    __tablename__ = "semantic_verdicts"

    tenant: Mapped[str] = mapped_column(Key, primary_key=True)
    prompt: Mapped[str] = mapped_column(Key, primary_key=True)
    version: Mapped[str] = mapped_column(String(40), primary_key=True)
    recipe: Mapped[str] = mapped_column(Key, primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    """collecting, proving, serving, demoted."""
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    """The number of its threshold; 0 before there is one."""
    threshold: Mapped[float | None] = mapped_column(Float)
    since: Mapped[float] = mapped_column(Float, default=0.0)
    """When the threshold was fixed: only pairs that were asked later prove it."""
    fit_pairs: Mapped[int] = mapped_column(Integer, default=0)
    """Judged pairs that the threshold was fitted on."""
    pairs: Mapped[int] = mapped_column(Integer, default=0)
    wrong: Mapped[int] = mapped_column(Integer, default=0)
    """Of the pairs that prove it, at or above the threshold."""
    rate: Mapped[float] = mapped_column(Float, default=0.0)
    upper: Mapped[float] = mapped_column(Float, default=1.0)
    lower: Mapped[float] = mapped_column(Float, default=0.0)
    """Bounds on the share of wrong hits that hold at every look."""
    max_wrong: Mapped[float] = mapped_column(Float)
    held: Mapped[bool] = mapped_column(default=False)
    """Somebody has switched serving off by hand."""
    reason: Mapped[str] = mapped_column(Text, default="")
    updated_at: Mapped[float] = mapped_column(Float)


class PromptRow(Base):
    """A prompt of a tenant and what serves it. Changed by compare-and-set on ``revision``."""

    __tablename__ = "prompts"

    tenant: Mapped[str] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(Key, primary_key=True)
    production: Mapped[str] = mapped_column(String(40), default="")
    """The version that is promoted; empty before the first one is."""
    previous: Mapped[str] = mapped_column(String(40), default="")
    revision: Mapped[int] = mapped_column(Integer, default=0)
    updated_at: Mapped[float] = mapped_column(Float)


class PromptVersionRow(Base):
    """An immutable version of a prompt."""

    __tablename__ = "prompt_versions"

    tenant: Mapped[str] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(Key, primary_key=True)
    version: Mapped[str] = mapped_column(String(40), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    bundle: Mapped[dict[str, Any]] = mapped_column(Json)
    """The gateway's ``PromptVersion`` as JSON."""
    spec: Mapped[dict[str, Any]] = mapped_column(Json)
    """The whole prompt.yaml as validated."""
    source: Mapped[str] = mapped_column(Text, default="")
    """Where the spec was read from."""
    git_commit: Mapped[str] = mapped_column(String(64), default="", server_default="")
    """What was checked out there; empty outside of a repository."""
    author: Mapped[str] = mapped_column(Key, default="")
    changelog: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[float] = mapped_column(Float)
    mlflow_version: Mapped[str] = mapped_column(String(40), default="")
    verdict: Mapped[str] = mapped_column(String(16), default="")
    """Outcome of the last gate: pass, fail, inconclusive, error."""
    gate_run: Mapped[str] = mapped_column(String(64), default="")
    """MLflow run id of the last gate."""


class ReleaseRow(Base):
    """A release on its way. ``stage`` says where; changed by compare-and-set on ``revision`` under a lease."""

    __tablename__ = "releases"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(Key)
    prompt: Mapped[str] = mapped_column(Key)
    version: Mapped[str] = mapped_column(String(40))
    baseline: Mapped[str] = mapped_column(String(40), default="")
    stage: Mapped[str] = mapped_column(String(24))
    """gating, awaiting_approval, mirror, canary, promoted, rolled_back, inconclusive, refused, error."""
    open_slot: Mapped[str | None] = mapped_column(String(410), unique=True)
    """``tenant/prompt`` while open, NULL once closed: at most one open release a prompt."""
    weight: Mapped[int] = mapped_column(Integer, default=0)
    step: Mapped[int] = mapped_column(Integer, default=0)
    policy: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    salt: Mapped[str] = mapped_column(String(64), default="")
    revision: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str] = mapped_column(String(80), default="")
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    opened_at: Mapped[float] = mapped_column(Float)
    step_since: Mapped[float] = mapped_column(Float, default=0.0)
    closed_at: Mapped[float | None] = mapped_column(Float)
    reason: Mapped[str] = mapped_column(Text, default="")
    author: Mapped[str] = mapped_column(Key, default="")
    approved_by: Mapped[str] = mapped_column(Key, default="")
    mlflow_run: Mapped[str] = mapped_column(String(64), default="")
    flow_run: Mapped[str] = mapped_column(String(64), default="")

    __table_args__ = (Index("ix_releases_prompt", "tenant", "prompt", "opened_at"),)


class ReleaseStepRow(Base):
    """One decision about a release, with the evidence it was taken on."""

    __tablename__ = "release_steps"

    release_id: Mapped[str] = mapped_column(ForeignKey("releases.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    kind: Mapped[str] = mapped_column(String(24))
    """registered, gated, approved, mirroring, started, advanced, held, promoted, rolled_back, refused, rejected,
    closed, settled, left."""
    weight: Mapped[int] = mapped_column(Integer, default=0)
    reason: Mapped[str] = mapped_column(Text, default="")
    evidence: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)


class ReleaseBlockRow(Base):
    """A canary user held against stable users, as it was formed. Never changed: what a look has used stays."""

    __tablename__ = "release_blocks"

    release_id: Mapped[str] = mapped_column(ForeignKey("releases.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    formed_at: Mapped[float] = mapped_column(Float)
    body: Mapped[dict[str, Any]] = mapped_column(Json)
    """Members with arm, time of the first eligible call and metrics."""


class ReleaseLookRow(Base):
    """A look at a canary: which calls it was shown, so that its decision can be taken again. Never changed."""

    __tablename__ = "release_looks"

    release_id: Mapped[str] = mapped_column(ForeignKey("releases.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    kind: Mapped[str] = mapped_column(String(16))
    """mirror, look, or sealed: the last one, after which nothing of the release may change."""
    body: Mapped[dict[str, Any]] = mapped_column(Json)
    """Calls that are new or have changed, with a digest for each field; the plan's step; counts of blocks."""
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of this look and of the digest before it."""


class ExperimentRow(Base):
    """An A/B test or a bandit over versions of a prompt. At most one open of a prompt, and none beside a release."""

    __tablename__ = "experiments"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(Key)
    prompt: Mapped[str] = mapped_column(Key)
    policy: Mapped[str] = mapped_column(String(16))
    """ab, bandit, contextual."""
    stage: Mapped[str] = mapped_column(String(16))
    """open, finished, stopped."""
    arms: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    """``{"version", "weight", "state"}`` each, the baseline first. Weights are basis points and sum to 10,000; an arm
    whose state is ``excluded`` has none, the others are ``active``."""
    segments: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    """Weights by segment, in the order of the arms. A segment that is not listed has the arms' own."""
    spec: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    """The declared options."""
    salt: Mapped[str] = mapped_column(String(64))
    epoch: Mapped[int] = mapped_column(Integer, default=0)
    """Grows with every re-weighting; compared and set."""
    started_at: Mapped[float] = mapped_column(Float)
    ended_at: Mapped[float | None] = mapped_column(Float)
    reason: Mapped[str] = mapped_column(Text, default="")
    updated_at: Mapped[float] = mapped_column(Float)

    __table_args__ = (
        Index("ix_experiments_prompt", "tenant", "prompt", "started_at"),
        Index(
            "ux_experiments_open",
            "tenant",
            "prompt",
            unique=True,
            sqlite_where=text("stage = 'open'"),
            postgresql_where=text("stage = 'open'"),
        ),
    )


class ExperimentStepRow(Base):
    """What was set in an experiment, when, and on what evidence. Never changed: the weights' history is here."""

    __tablename__ = "experiment_steps"

    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiments.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    kind: Mapped[str] = mapped_column(String(24))
    """started, reweighted, finished, stopped, promoted, told."""
    epoch: Mapped[int] = mapped_column(Integer, default=0)
    """Which began with it, where it set weights."""
    arms: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    segments: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    """Both as in the experiment's row from then on."""
    reason: Mapped[str] = mapped_column(Text, default="")
    evidence: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)


class RoutingRow(Base):
    """The last published routing table; one row (id 1)."""

    __tablename__ = "routing"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger)
    body: Mapped[dict[str, Any]] = mapped_column(Json)
    published_at: Mapped[float] = mapped_column(Float)


class CollectionRow(Base):
    """A tenant's collection of documents. ``revision`` grows with every change of a document in it."""

    __tablename__ = "collections"

    tenant: Mapped[str] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(Key, primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, default=0)


class DocumentRow(Base):
    """A document's current version. A deleted one stays as a tombstone, so that versions never repeat."""

    __tablename__ = "documents"

    tenant: Mapped[str] = mapped_column(Key, primary_key=True)
    collection: Mapped[str] = mapped_column(Key, primary_key=True)
    id: Mapped[str] = mapped_column(Key, primary_key=True)
    version: Mapped[int] = mapped_column(Integer)
    revision: Mapped[int] = mapped_column(BigInteger)
    """The collection's revision that wrote this version."""
    title: Mapped[str] = mapped_column(Text, default="")
    text: Mapped[str] = mapped_column(Text, default="")
    digest: Mapped[str] = mapped_column(String(64))
    attributes: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    deleted: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[float] = mapped_column(Float)
    refreshed_version: Mapped[int] = mapped_column(Integer, default=0)
    """The version that ``update_documents`` has finished with; behind ``version`` while pending."""

    __table_args__ = (Index("ix_documents_revision", "tenant", "collection", "revision"),)


class ChunkRow(Base):
    """A chunk of a document's current version with its embedding (little-endian float32, unit length)."""

    __tablename__ = "chunks"

    tenant: Mapped[str] = mapped_column(Key, primary_key=True)
    collection: Mapped[str] = mapped_column(Key, primary_key=True)
    document_id: Mapped[str] = mapped_column(Key, primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    version: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(Text)
    embedder: Mapped[str] = mapped_column(String(120))
    embedding: Mapped[bytes] = mapped_column(LargeBinary)


class ApiKeyRow(Base):
    """A key, of which only the SHA-256 (hex) is kept. ``prefix`` is what a person recognises it by."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(Key)
    name: Mapped[str] = mapped_column(Key)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    prefix: Mapped[str] = mapped_column(String(16))
    scopes: Mapped[list[str]] = mapped_column(Json, default=list)
    created_at: Mapped[float] = mapped_column(Float)
    revoked_at: Mapped[float | None] = mapped_column(Float)
    limits: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    """``requests_per_minute``, ``tokens_per_minute``, ``daily_budget_usd``; what is missing is not limited."""


class IdempotencyRow(Base):
    """A caller's Idempotency-Key: claimed by the call that works on it, then holding what it answered.

    (tenant, key) is unique here, so that a lost Redis cannot make a call twice.
    """

    __tablename__ = "idempotency"

    tenant: Mapped[str] = mapped_column(Key, primary_key=True)
    key: Mapped[str] = mapped_column(Key, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 (hex) of endpoint and body: the same key with another one is refused."""
    call_id: Mapped[str] = mapped_column(String(40))
    """Kept when another worker takes over from a dead one, so that the ledger has one row all the same."""
    owner: Mapped[str] = mapped_column(String(120), default="")
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    outcome: Mapped[bytes | None] = mapped_column(LargeBinary)
    """What was answered, as the API keeps it; NULL while under way."""
    created_at: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float] = mapped_column(Float, index=True)


class JobRow(Base):
    """Long work that was accepted with 202. ``state`` is changed by compare-and-set; items tell how far it is."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(Key)
    key_id: Mapped[str] = mapped_column(String(40), default="")
    kind: Mapped[str] = mapped_column(String(24))
    """completion (bulk) or import (documents)."""
    state: Mapped[str] = mapped_column(String(16))
    """queued, running, cancelling, succeeded, failed, cancelled."""
    request: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    """What all items share, as validated."""
    total: Mapped[int] = mapped_column(Integer, default=0)
    done: Mapped[int] = mapped_column(Integer, default=0)
    failed: Mapped[int] = mapped_column(Integer, default=0)
    cost_usd: Mapped[Decimal] = mapped_column(Money, default=Decimal(0))
    """Of the finished items, as far as their price is known."""
    error: Mapped[str] = mapped_column(Text, default="")
    flow_run: Mapped[str] = mapped_column(String(64), default="")
    lease_owner: Mapped[str] = mapped_column(String(120), default="")
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    created_at: Mapped[float] = mapped_column(Float)
    started_at: Mapped[float | None] = mapped_column(Float)
    finished_at: Mapped[float | None] = mapped_column(Float)

    __table_args__ = (Index("ix_jobs_tenant_time", "tenant", "created_at"), Index("ix_jobs_state", "state"))


class JobItemRow(Base):
    """One piece of a job. Finished once; a run that takes over goes on with those that are not."""

    __tablename__ = "job_items"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    input: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    """waiting, done, failed."""
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    """How often it was tried and ended in an error that may pass."""
    call_id: Mapped[str] = mapped_column(String(40), default="")
    output: Mapped[dict[str, Any] | None] = mapped_column(Json)
    error: Mapped[str] = mapped_column(String(64), default="")
    """The error's code."""
    message: Mapped[str] = mapped_column(Text, default="")
    cost_usd: Mapped[Decimal | None] = mapped_column(Money)
    """None: nothing was asked, or the price is unknown."""


class TurnRow(Base):
    """One exchange of a conversation: claimed by the call that works on it, then holding what was said and answered."""

    __tablename__ = "turns"

    tenant: Mapped[str] = mapped_column(Key, primary_key=True)
    conversation: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    prompt: Mapped[str] = mapped_column(Key)
    messages: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    """The messages that this exchange added, the assistant's last; none while under way."""
    call_id: Mapped[str] = mapped_column(String(40))
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    """Until when the call that works on it is believed to live; 0 once the turn is written."""
    created_at: Mapped[float] = mapped_column(Float, index=True)


class ProviderBatchRow(Base):
    """A batch at a provider. Written before it is submitted, so that one is collected, and once, whoever dies."""

    __tablename__ = "provider_batches"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 (hex) of what it asks, and of whom."""
    tenant: Mapped[str] = mapped_column(Key)
    provider: Mapped[str] = mapped_column(Key)
    model: Mapped[str] = mapped_column(Key)
    items: Mapped[list[str]] = mapped_column(Json)
    """What it asks: one id per request, which tells requests apart."""
    state: Mapped[str] = mapped_column(String(16))
    """submitting, submitted, collected, abandoned."""
    provider_batch: Mapped[str] = mapped_column(String(200), default="")
    """The provider's name for it; empty while nobody knows whether it was submitted."""
    owner: Mapped[str] = mapped_column(String(120), default="")
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    """Until then the owner submits it; afterwards somebody else may find out whether it did."""
    created_at: Mapped[float] = mapped_column(Float)

    __table_args__ = (Index("ix_provider_batches_open", "tenant", "provider", "model", "state"),)


class CacheProbeRow(Base):
    """How many kept answers were held against their documents, and which of them were stale."""

    __tablename__ = "cache_probes"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[float] = mapped_column(Float, index=True)
    source: Mapped[str] = mapped_column(String(40))
    """The flow that looked."""
    tenant: Mapped[str] = mapped_column(Key, default="")
    """Empty: all tenants."""
    collection: Mapped[str] = mapped_column(Key, default="")
    probed: Mapped[int] = mapped_column(Integer)
    stale: Mapped[list[str]] = mapped_column(Json, default=list)


class CacheMemoryRow(Base):
    """The cache Redis' memory in bytes at a moment; ``maximum`` 0: it has none."""

    __tablename__ = "cache_memory"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[float] = mapped_column(Float, index=True)
    used: Mapped[int] = mapped_column(BigInteger)
    maximum: Mapped[int] = mapped_column(BigInteger)
    evicted: Mapped[int] = mapped_column(BigInteger, default=0)


class OutboxRow(Base):
    """An event that Prefect must hear of. Written in the transaction of the change, posted by the ledger-writer."""

    __tablename__ = "outbox"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    event: Mapped[str] = mapped_column(String(120))
    resource: Mapped[str] = mapped_column(String(400))
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[float] = mapped_column(Float)
    sent_at: Mapped[float | None] = mapped_column(Float, index=True)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_attempt_at: Mapped[float] = mapped_column(Float, default=0.0)
