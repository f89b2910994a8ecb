"""Bodies of the two vendors' protocols, as far as they are read here: for the OpenAPI document and its tests.

``chat_request`` and ``messages_request`` do the reading. Every other field goes to the provider as it is.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_OPEN = ConfigDict(extra="allow", strict=True)
_CLOSED = ConfigDict(extra="forbid", strict=True)

ModelName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=400,
        description="prompt:<name>, prompt:<name>@<version>, gpt-..., claude-... or <provider>/<model>.",
        examples=["prompt:help-centre", "gpt-4.1-mini", "claude-haiku-4-5"],
    ),
]


class Options(BaseModel):
    """What only this gateway knows."""

    model_config = _CLOSED

    cache: Literal["default", "bypass", "refresh"] = "default"
    personal: bool | None = Field(None, description="Keep question and answer out of every cache.")
    origin: Literal["live", "gate", "judge", "warm", "mirror", "probe", "job"] = Field(
        "live", description="Others than live are for keys with the scope 'admin'."
    )
    tools: list[str] | None = Field(
        None, max_length=16, description="Registered tools that the gateway executes itself; of raw calls only."
    )
    collection: str | None = Field(None, description="The documents that these tools may search.")


class Extended(BaseModel):
    """Extensions that both protocols take, through the SDKs' ``extra_body``."""

    model_config = _OPEN

    model: ModelName
    variables: dict[str, Any] | None = Field(None, description="Of the managed prompt.")
    user: str | None = Field(
        None,
        max_length=200,
        description="Stays on one version while a release is open; of a bandit, until its weights change.",
    )
    stream: bool | None = None
    promptyard: Options | None = None
    temperature: float | None = None
    top_p: float | None = None


class OpenAIMessage(BaseModel):
    model_config = _OPEN

    role: str
    content: Any = None


class ChatCompletionRequest(Extended):
    """OpenAI's chat completions. https://platform.openai.com/docs/api-reference/chat/create"""

    messages: list[OpenAIMessage] | None = Field(None, description="Follow the template of a managed prompt.")
    stream_options: dict[str, Any] | None = None
    n: Literal[1] | None = None
    metadata: Any = Field(
        None, description="Who asks, such as plan or language: an experiment may route a managed prompt's call by it."
    )


class AnthropicBlock(BaseModel):
    model_config = _OPEN

    type: str


class TextBlock(BaseModel):
    model_config = _OPEN

    type: Literal["text"]
    text: str


class AnthropicMessage(BaseModel):
    model_config = _OPEN

    role: Literal["user", "assistant", "system"]
    content: str | list[AnthropicBlock]


class AnthropicTool(BaseModel):
    model_config = _OPEN

    name: str


class MessagesRequest(Extended):
    """Anthropic's messages. https://platform.claude.com/docs/en/api/messages"""

    messages: list[AnthropicMessage] | None = Field(None, description="Follow the template of a managed prompt.")
    max_tokens: Any = Field(None, description="An integer. Left out: the prompt's own, or 1024.")
    system: str | list[TextBlock] | None = None
    stop_sequences: list[str] | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = Field(
        None,
        description="user_id is the user, unless 'user' says it. Anything else is who asks, such as plan or language: "
        "an experiment may route a managed prompt's call by it.",
    )
