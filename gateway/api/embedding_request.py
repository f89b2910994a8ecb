"""The bodies of ``/v1/embeddings`` and ``/v1/embed``, and the calls they become. Pure."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, field_validator

from gateway.api.chat_request import MANAGED, model_ref
from gateway.embedding.base import Input
from gateway.errors import InvalidRequest, UnknownModel
from gateway.types import Call, Principal

MOST_INPUTS = 2048
MOST_TOKENS = 65_536
"""Of one input of tokens; models take less and say so."""
_LARGEST_TOKEN = 2**31 - 1

Text = Annotated[str, Field(min_length=1)]
Token = Annotated[int, Field(ge=0, le=_LARGEST_TOKEN)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=MOST_TOKENS)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS)]
ManyTokens = Annotated[list[Tokens], Field(min_length=1, max_length=MOST_INPUTS)]


def read_inputs(value: Any) -> tuple[Input, ...]:
    """One text, texts, the tokens of one text, or those of several. Raises ``ValueError`` without any of them in it."""
    if isinstance(value, str):
        return (_text(value),)
    if not isinstance(value, list) or not value:
        raise ValueError("a string, or a list of at least one string, of tokens, or of lists of tokens")
    if all(type(one) is int for one in value):
        return (_tokens(value),)
    if len(value) > MOST_INPUTS:
        raise ValueError(f"at most {MOST_INPUTS} inputs, not {len(value)}")
    if all(isinstance(one, str) for one in value):
        return tuple(_text(one) for one in value)
    if all(isinstance(one, list) and one for one in value):
        return tuple(_tokens(one) for one in value)
    raise ValueError("a string, or a list of at least one string, of tokens, or of lists of tokens, all alike")


def _text(value: str) -> str:
    if not value:
        raise ValueError("an empty string has no vector")
    return value


def _tokens(value: list[Any]) -> list[int]:
    if len(value) > MOST_TOKENS:
        raise ValueError(f"at most {MOST_TOKENS} tokens an input, not {len(value)}")
    if not all(type(one) is int and 0 <= one <= _LARGEST_TOKEN for one in value):
        raise ValueError("tokens are whole numbers from 0 on")
    return value


class _Asked(BaseModel):
    """What both bodies share. Fields that are not ours go to the provider, as its own options."""

    model_config = ConfigDict(extra="allow", strict=True)

    dimensions: int | None = Field(None, ge=1, le=8192, description="Length of the vectors, for models that can.")
    user: str | None = Field(None, max_length=200, description="Kept in the ledger; the provider does not get it.")

    def options(self) -> dict[str, Any]:
        """What the provider is told beside model and inputs."""
        own = {name: value for name, value in (self.model_extra or {}).items() if value is not None}
        if "promptyard" in own:
            raise InvalidRequest("'promptyard' has no options for embeddings")
        if own.get("stream"):
            raise InvalidRequest("embeddings are not streamed")
        return own if self.dimensions is None else {"dimensions": self.dimensions} | own


def _printable(model: str) -> str:
    if not model.isprintable():  # it comes back in headers, logs and metrics
        raise ValueError("printable characters only")
    return model


class EmbeddingsBody(_Asked):
    """OpenAI's body."""

    model: str = Field(
        min_length=1,
        max_length=400,
        description="'promptyard/lexical', '<provider>/<model>', or the name of one of OpenAI's models.",
    )
    input: Annotated[Any, PlainValidator(read_inputs, json_schema_input_type=Text | Texts | Tokens | ManyTokens)]
    encoding_format: Literal["float", "base64"] | None = "float"

    _model_is_printable = field_validator("model")(_printable)


class EmbedBody(_Asked):
    """The plain body."""

    texts: Texts
    model: str = Field("", max_length=400, description="As in /v1/embeddings; left out: the gateway's own embedder.")

    _model_is_printable = field_validator("model")(_printable)


def embedding_call(
    body: EmbeddingsBody | EmbedBody,
    *,
    call_id: str,
    now: float,
    principal: Principal,
    providers: Collection[str],
    default: str,
) -> Call:
    """The call that the ledger records. Raises InvalidRequest, and UnknownModel for a managed prompt."""
    if body.model.startswith(MANAGED):
        raise UnknownModel("a prompt has no embeddings", hint="Name an embedding model, such as 'promptyard/lexical'.")
    return Call(
        id=call_id,
        tenant=principal.tenant,
        key_id=principal.key_id,
        limits=principal.limits,
        received_at=now,
        kind="embedding",
        model=str(model_ref(body.model or default, providers)),
        params=body.options(),
        user=body.user or "",
    )
