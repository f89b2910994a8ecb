"""Under which name an answer is kept.

A name is ``py:x:{<scope>}:<key>``. The scope is ``<tenant>|<prompt>@<version>``, or ``<tenant>|raw``, each part
percent-encoded, so that no name of a tenant or prompt can break it; the braces keep a scope in one slot of a cluster.
The key is the SHA-256 of a canonical encoding of everything that can change the answer.

Not in the key, because they cannot change it: who asked (key, user, origin), how it is delivered (stream), how the
version was chosen (arm, release, pin), and what follows from the rest (rendered messages, query, passages). The epoch
is checked in the entry instead, so that a new answer takes the place of the stale one.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from gateway.types import Call, PromptVersion

ENCODING = "promptyard/answer/2"
"""Part of every key. Change it when the meaning of a field or the list of fields changes."""

PREFIX = "py:x:{"
RAW = "raw"

_WIDE_INTEGER, _SURROGATES, _MAPPING = 1, 2, 3


def answer_key(call: Call) -> str:
    """SHA-256 (64 hex digits). Equal for calls that must get the same answer, different for all others.

    Routing comes first: ``version``, ``chain``, ``params`` and ``collection`` are read from the call as they are.
    Raises ``TypeError`` for a value that JSON could not have carried.
    """
    version = call.version
    return sha256(
        canonical(
            (
                ENCODING,
                call.tenant,
                (call.prompt, call.model) if version is None else _behaviour(version),
                [(link.provider, link.model) for link in call.chain or (version.chain if version else ())],
                call.params,
                call.variables,
                call.messages,
                call.history,
                call.collection,
                call.repeat,
                call.tools if version is None else version.tools,
            )
        )
    ).hexdigest()


def _behaviour(version: PromptVersion) -> tuple[Any, ...]:
    # The digest stands for all of it; the parts are here so that a wrong digest cannot mix answers.
    return (
        version.name,
        version.version,
        version.digest,
        version.template,
        version.variables,
        version.params,
        version.retrieval,
    )


def canonical(value: Any) -> bytes:
    """An injective encoding of JSON-like values: the order of mappings does not count, that of sequences does.

    MessagePack tags every value with its type and length, so ``1``, ``1.0``, ``True``, ``"1"`` and ``None`` differ.
    """
    try:
        return _encoder.encode(value)
    except (OverflowError, UnicodeEncodeError, TypeError):
        return _encoder.encode(_tamed(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} cannot be part of a cache key")


_encoder = msgspec.msgpack.Encoder(order="deterministic", enc_hook=_plain)


def _tamed(value: Any) -> Any:
    """What MessagePack cannot hold (wide integers, lone surrogates, keys that are no strings) as tagged bytes."""
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return value if _is_utf8(raw) else msgspec.msgpack.Ext(_SURROGATES, raw)
    if value is None or isinstance(value, bool | float | bytes):
        return value
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return value
        return msgspec.msgpack.Ext(_WIDE_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        pairs = sorted((_encoder.encode(_tamed(k)), _encoder.encode(_tamed(v))) for k, v in value.items())
        return msgspec.msgpack.Ext(_MAPPING, _encoder.encode(pairs))
    if isinstance(value, Sequence):
        return [_tamed(item) for item in value]
    raise TypeError(f"a {type(value).__name__} cannot be part of a cache key")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


class Scope(msgspec.Struct, frozen=True):
    """The hard boundary of an entry. ``prompt`` and ``version`` are empty for raw calls."""

    tenant: str
    prompt: str = ""
    version: str = ""

    @classmethod
    def of(cls, call: Call) -> "Scope":
        if call.version is None:
            return cls(call.tenant)
        return cls(call.tenant, call.version.name, call.version.version)

    @classmethod
    def parse(cls, name: str) -> "Scope":
        """The scope of an entry's name. Raises ``ValueError`` for a name that is not an entry's."""
        text, end, _ = name.removeprefix(PREFIX).partition("}:")
        tenant, bar, rest = text.partition("|")
        prompt, at, version = rest.partition("@")
        if not (name.startswith(PREFIX) and end and bar) or (not at and rest != RAW):
            raise ValueError("not the name of a cache entry")
        if not at:
            return cls(_unquoted(tenant))
        return cls(_unquoted(tenant), _unquoted(prompt), _unquoted(version))

    def __str__(self) -> str:
        return f"{_quoted(self.tenant)}|" + (
            f"{_quoted(self.prompt)}@{_quoted(self.version)}" if self.prompt or self.version else RAW
        )


def entry_name(scope: Scope, key: str) -> str:
    """The Redis key of an entry."""
    return f"{PREFIX}{scope}}}:{key}"


def name_pattern(tenant: str, prompt: str | None = None, version: str | None = None) -> str:
    """The glob that matches exactly the names of these entries. Raises ``ValueError`` for a version without prompt."""
    if prompt is None:
        if version is not None:
            raise ValueError("a version needs its prompt")
        return f"{PREFIX}{_quoted(tenant)}|*"
    return f"{PREFIX}{_quoted(tenant)}|{_quoted(prompt)}@" + ("*" if version is None else f"{_quoted(version)}}}:*")


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def _unquoted(text: str) -> str:
    return unquote(text, errors="surrogatepass")
