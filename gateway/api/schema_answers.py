"""Answers and errors as they leave: for the OpenAPI document and its tests. The code that writes them is elsewhere."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_OPEN = ConfigDict(extra="allow")


class AttemptNote(BaseModel):
    provider: str
    model: str
    latency_ms: float
    error: str | None


class ErrorDetail(BaseModel):
    code: str = Field(examples=["unknown_prompt"], description="One of a fixed set; programs decide by it.")
    message: str
    hint: str = Field(description="What to do next.")
    call_id: str | None
    retryable: bool = Field(description="Whether the same request may succeed later.")
    type: str = Field(description="The code again, where OpenAI's SDK looks for it.")
    attempts: list[AttemptNote] = Field(default_factory=list, description="Where providers were asked: what they did.")


class ErrorBody(BaseModel):
    error: ErrorDetail


class AnthropicErrorDetail(BaseModel):
    type: str = Field(examples=["not_found_error"])
    message: str
    code: str
    hint: str
    call_id: str | None
    retryable: bool


class AnthropicErrorBody(BaseModel):
    """Anthropic's error, with this gateway's code, hint, call id and whether to retry."""

    type: Literal["error"]
    error: AnthropicErrorDetail
    request_id: str | None


class CacheNote(BaseModel):
    layer: str = Field(description="local, exact, semantic, coalesced, stale, or none: a provider was asked.")
    reason: str = Field(description="hit, revalidated, aged, refreshing, or why the exact layer did not answer.")
    reasons: dict[str, str] = Field(
        description="What each layer that was asked said (local, exact, semantic, embedding, context): hit, or why not."
    )


class Provenance(BaseModel):
    """Where an answer came from."""

    model_config = _OPEN

    call_id: str
    prompt: str | None
    version: str | None
    arm: str | None
    release: str | None
    experiment: str | None
    fell_back_from: str | None = Field(description="The experiment's version that failed before this one answered.")
    cache: CacheNote
    provider: str
    model: str
    attempts: list[AttemptNote]
    cost_usd: float | None = Field(description="0 if no provider was asked, null where the price is unknown.")
    documents: list[str] = Field(description="doc:<collection>/<id>@<version>")


class OpenAIUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, Any]


class Choice(BaseModel):
    index: Literal[0]
    message: dict[str, Any]
    finish_reason: str
    logprobs: None


class ChatCompletion(BaseModel):
    """OpenAI's object, with ``promptyard``. A stream has chunks; the object rides the last one."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice] = Field(min_length=1, max_length=1)
    usage: OpenAIUsage
    promptyard: Provenance


class AnthropicUsage(BaseModel):
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int


class ContentBlock(BaseModel):
    model_config = _OPEN

    type: str


class AnthropicAnswer(BaseModel):
    """Anthropic's message, with ``promptyard``. In a stream the object rides the event ``message_delta``."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[ContentBlock]
    stop_reason: str
    stop_sequence: str | None
    usage: AnthropicUsage
    promptyard: Provenance


class CompletionAnswer(BaseModel):
    """Also the data of a stream's last event, ``answer``."""

    text: str
    message: dict[str, Any]
    finish_reason: str
    usage: OpenAIUsage
    promptyard: Provenance


class ConversationNote(BaseModel):
    id: str
    turn: int = Field(ge=1)
    kept: bool = Field(description="False: the answer is here, and the conversation does not remember it.")
    turns_sent: int = Field(ge=0, description="Earlier turns that the model saw.")
    turns_dropped: int = Field(ge=0, description="Earlier turns that it did not: the bounds leave the oldest out.")


class ChatAnswer(CompletionAnswer):
    conversation: ConversationNote | None = Field(description="null unless the conversation is held here.")


class DocumentState(BaseModel):
    collection: str
    id: str
    version: int
    revision: int
    changed: bool
    chunks: int
    updated_at: float
    deleted: bool


class DocumentView(BaseModel):
    state: DocumentState
    title: str
    text: str
    attributes: dict[str, Any]


class DocumentPage(BaseModel):
    documents: list[DocumentState]
    has_more: bool
    next: str | None


class ActiveArm(BaseModel):
    arm: str
    version: str
    share_of_users: float = Field(ge=0, le=1)


class ActiveExperiment(BaseModel):
    id: str
    policy: Literal["ab", "bandit", "contextual"]
    epoch: int = Field(description="Grows whenever the weights change.")
    fall_back: bool = Field(description="Whether the baseline answers where an arm has failed.")
    context_keys: list[str]
    segments: dict[str, dict[str, float]] = Field(
        description="Share of users by segment and version; a segment that is not listed has the arms' own."
    )


class ActivePrompt(BaseModel):
    model_config = _OPEN

    prompt: str
    stable: str
    release: str | None
    experiment: ActiveExperiment | None
    arms: list[ActiveArm]
    revision: int
    user: dict[str, str] | None = None


class Alive(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    model_config = _OPEN

    status: Literal["ok", "degraded"]
    checks: dict[str, Literal["up", "down"]]
    routing_revision: int
    prompts: int
    instance: str
    embedder: str
    warnings: list[str] = Field(description="What is set up oddly or nearly full, and what to do about it.")
