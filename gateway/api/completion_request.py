"""Bodies of ``/v1/completion`` and ``/v1/chat``, checked and read into a Call. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from gateway.api.access import checked
from gateway.api.chat_request import LONGEST_TRAIT, LONGEST_TRAIT_NAME, MANAGED, MOST_TRAITS, read_call
from gateway.api.serving import Asker
from gateway.errors import InvalidRequest
from gateway.types import Call

NOT_PARAMS = frozenset({"model", "messages", "stream", "stream_options", "user", "variables", "promptyard"})
"""What a body says elsewhere, or cannot say."""

TraitName = Annotated[str, Field(max_length=LONGEST_TRAIT_NAME)]
Trait = Annotated[str, Field(max_length=LONGEST_TRAIT)]
Value = str | int | float | bool
Asked = TypeVar("Asked", bound="CompletionRequest")


class CompletionRequest(BaseModel):
    """One answer of a managed prompt, without memory."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str = Field(pattern=r"^[^@\s]{1,200}$", description="Name of a managed prompt.", examples=["help-centre"])
    version: str | None = Field(
        None, pattern=r"^[^@\s]{1,64}$", description="One of the active versions; the user's own by default."
    )
    variables: dict[str, Value] | None = Field(None, description="Every variable that the prompt requires.")
    user: str | None = Field(
        None,
        max_length=200,
        description="Stays on one version while a release is open; of a bandit, until its weights change.",
    )
    context: dict[TraitName, Trait] | None = Field(
        None,
        max_length=MOST_TRAITS,
        description="Who asks, such as plan or language: an experiment may route by it. No part of the answer.",
        examples=[{"plan": "pro", "language": "de"}],
    )
    params: dict[str, Any] | None = Field(
        None, description="Sampling parameters in OpenAI's names, in place of the prompt's own."
    )
    stream: bool | None = Field(None, description="Answer as server-sent events: delta ..., then answer or error.")
    cache: Literal["default", "bypass", "refresh"] | None = Field(
        None, description="bypass: neither read nor write; refresh: do not read, do write."
    )
    personal: bool | None = Field(None, description="Keep question and answer out of every cache.")


class TextPart(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    type: Annotated[str, Field(min_length=1, description="text, image_url ..., as in OpenAI's chat completions.")]


class ChatMessage(BaseModel):
    """A message in OpenAI's shape. Instructions are the prompt's: there is no system message here."""

    model_config = ConfigDict(extra="allow", strict=True)

    role: Literal["user", "assistant", "tool"]
    content: str | list[TextPart] | None = None


class ChatRequest(CompletionRequest):
    """A turn of a conversation with a managed prompt.

    If the prompt declares the variable ``question``, the last user message fills it (also for retrieval), and the
    messages before it stand before the template's own question. A prompt without it gets the messages after its
    template. Whoever holds the conversation sends all of it as ``messages`` every time; for one that is held here
    (``conversation``), ``messages`` are what is new, or the variable ``question`` is.
    """

    messages: list[ChatMessage] | None = Field(None, max_length=1000)
    conversation: str | None = Field(
        None,
        pattern=r"^(new|conv_[0-9a-z]{26})$",
        description="Id of a conversation that is held here, or 'new' to begin one.",
    )
    keep: bool | None = Field(None, description="Begin a conversation that is held here, as conversation='new' does.")


def read_completion(body: Mapping[str, Any], asker: Asker) -> Call:
    """Raises InvalidRequest, which names the field."""
    return read_call(_in_openai_terms(checked(body, CompletionRequest)), asker)


def read_chat(body: Mapping[str, Any], asker: Asker) -> Call:
    """As ``read_completion``; the messages are laid out once the prompt's version is known."""
    asked = _in_openai_terms(checked(body, ChatRequest))
    return read_call({**asked, "messages": body.get("messages")}, asker)


def _in_openai_terms(asked: CompletionRequest) -> Mapping[str, Any]:
    params = asked.params or {}
    if misplaced := sorted(NOT_PARAMS.intersection(params)):
        raise InvalidRequest(f"params.{misplaced[0]} is not a sampling parameter", hint="See the schema at /docs.")
    context = {"metadata": asked.context} if asked.context else {}
    return {
        **params,
        **context,
        "model": f"{MANAGED}{asked.prompt}" + (f"@{asked.version}" if asked.version else ""),
        "variables": asked.variables,
        "user": asked.user,
        "stream": asked.stream,
        "promptyard": {"cache": asked.cache or "default", "personal": asked.personal},
    }
