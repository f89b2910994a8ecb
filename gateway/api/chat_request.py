"""OpenAI's chat-completions body, read into a Call. Pure."""

from collections.abc import Collection, Mapping
from typing import Any

from gateway.api.serving import Asker
from gateway.auth.authenticator import require
from gateway.errors import InvalidRequest
from gateway.names import check_name
from gateway.types import CacheMode, Call, Message, ModelRef, Origin, Principal

MANAGED = "prompt:"
_OURS = frozenset({"model", "messages", "stream", "stream_options", "user", "variables", "promptyard"})
_OPTIONS = frozenset({"cache", "personal", "origin", "tools", "collection"})
_MOST_TOOLS = 16
MOST_TRAITS = 16
LONGEST_TRAIT_NAME = 64
LONGEST_TRAIT = 512
"""Pairs and characters of ``metadata``, as OpenAI has them."""
_LONGEST_MODEL = 400


def read_call(body: Mapping[str, Any], asker: Asker) -> Call:
    """A Call from the body. Raises InvalidRequest, naming the field.

    ``model`` is ``prompt:<name>`` or ``prompt:<name>@<version>`` for a managed prompt, and ``gpt-...``, ``claude-...``
    or ``<provider>/<model>`` for a raw call. Every field that is not ours goes to the provider and into the cache key;
    one that is null counts as left out. ``metadata`` of a managed prompt's call says who asks: it chooses among the
    arms of an experiment, and goes no further unless the provider is to ``store`` the answer.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest(
            "'model' must be a string", hint="'prompt:<name>' for a managed prompt, or a model's name."
        )
    if len(model) > _LONGEST_MODEL or not model.isprintable():  # it comes back in headers, logs and metrics
        raise InvalidRequest(f"'model' must be at most {_LONGEST_MODEL} printable characters")
    options = _options(body.get("promptyard"))
    name, _, pinned = model.removeprefix(MANAGED).partition("@") if model.startswith(MANAGED) else ("", "", "")
    if model.startswith(MANAGED) and not name:
        raise InvalidRequest("the prompt's name is missing", hint="Write model='prompt:<name>'.")
    if not name and body.get("variables"):
        raise InvalidRequest("'variables' are for managed prompts", hint="Write model='prompt:<name>'.")
    params = {key: value for key, value in body.items() if key not in _OURS and value is not None}
    _check_params(params)
    traits = _traits(params) if name else {}
    if traits and not params.get("store"):
        del params["metadata"]
    principal = asker.principal
    tools = _tools(options, principal, managed=bool(name))
    return Call(
        id=asker.call_id,
        tenant=principal.tenant,
        key_id=principal.key_id,
        limits=principal.limits,
        received_at=asker.now,
        origin=_origin(options, principal),
        prompt=name,
        pinned=pinned,
        variables=_object(body, "variables"),
        messages=_messages(body.get("messages"), required=not name),
        model="" if name else str(model_ref(model, asker.providers)),
        params=params,
        user=_user(body.get("user")),
        traits=traits,
        stream=_stream(body),
        cache=_cache_mode(options),
        personal=bool(options.get("personal")),
        tools=tools,
        collection=_collection(options, principal, tools),
    )


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether the caller asked for a usage chunk at the stream's end."""
    options = body.get("stream_options")
    return isinstance(options, Mapping) and bool(options.get("include_usage"))


def model_ref(model: str, providers: Collection[str]) -> ModelRef:
    """``<provider>/<model>`` as written; a bare name by its family: ``claude...`` is Anthropic's, the rest OpenAI's."""
    provider, slash, rest = model.partition("/")
    if slash and rest and provider in providers:
        return ModelRef(provider, rest)
    return ModelRef("anthropic" if model.startswith("claude") else "openai", model)


def _messages(value: Any, *, required: bool) -> tuple[Message, ...]:
    if value is None or value == []:
        if required:
            raise InvalidRequest("'messages' must be a list with at least one message")
        return ()
    if not isinstance(value, list):
        raise InvalidRequest("'messages' must be a list")
    for index, message in enumerate(value):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest(f"messages[{index}] must be an object with a 'role'")
    return tuple(value)


def _check_params(params: Mapping[str, Any]) -> None:
    if params.get("n", 1) != 1 or params.get("n") is True:
        raise InvalidRequest("'n' greater than 1 is not supported", hint="Send several calls.")
    if params.get("logprobs"):
        raise InvalidRequest("'logprobs' is not supported", hint="Leave it out.")
    for name in ("temperature", "top_p"):
        value = params.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InvalidRequest(f"'{name}' must be a number")


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"'{name}' must be an object")
    return value


def _options(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest("'promptyard' must be an object", hint='Such as {"cache": "bypass"}.')
    if not _OPTIONS.issuperset(value):  # an option that is misspelt must not be lost: it may say 'personal'
        raise InvalidRequest("'promptyard' has an unknown option", hint=f"One of: {', '.join(sorted(_OPTIONS))}.")
    if value.get("personal") not in (None, True, False):
        raise InvalidRequest("promptyard.personal must be true or false")
    return value


def _traits(params: Mapping[str, Any]) -> Mapping[str, str]:
    """``metadata`` in OpenAI's bounds; what is none in these is the provider's to judge, like any other field."""
    pairs = params.get("metadata")
    if not isinstance(pairs, dict) or len(pairs) > MOST_TRAITS:
        return {}
    fits = (
        isinstance(value, str) and len(name) <= LONGEST_TRAIT_NAME and len(value) <= LONGEST_TRAIT
        for name, value in pairs.items()
    )
    return pairs if all(fits) else {}


def _stream(body: Mapping[str, Any]) -> bool:
    value = body.get("stream")
    if value not in (None, True, False):
        raise InvalidRequest("'stream' must be true or false")
    if not isinstance(body.get("stream_options"), dict | None):
        raise InvalidRequest("'stream_options' must be an object")
    return bool(value)


def _user(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 200:
        raise InvalidRequest("'user' must be a string of at most 200 characters")
    return value


def _cache_mode(options: Mapping[str, Any]) -> CacheMode:
    if options.get("personal"):
        return CacheMode.BYPASS
    value = options.get("cache", "default")
    try:
        return CacheMode(value)
    except ValueError:
        allowed = ", ".join(mode.value for mode in CacheMode)
        raise InvalidRequest("promptyard.cache is not known", hint=f"One of: {allowed}.") from None


def _tools(options: Mapping[str, Any], principal: Principal, *, managed: bool) -> tuple[str, ...]:
    """Whoever may have tools called with words of their own may as well call them: both need the same scope."""
    value = options.get("tools")
    if value is None or value == []:
        return ()
    if managed:
        raise InvalidRequest("promptyard.tools are for raw calls", hint="A managed prompt names its own tools.")
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise InvalidRequest("promptyard.tools must be a list of names", hint="GET /v1/tools lists what is registered.")
    if len(value) > _MOST_TOOLS or len(set(value)) < len(value):
        raise InvalidRequest(f"promptyard.tools are at most {_MOST_TOOLS} different names")
    require(principal, "tools")
    return tuple(value)


def _collection(options: Mapping[str, Any], principal: Principal, tools: Collection[str]) -> str:
    """What the tools of a raw call may search; a managed prompt says it itself."""
    value = options.get("collection")
    if value is None:
        return ""
    if not tools:
        raise InvalidRequest("promptyard.collection is for raw calls with promptyard.tools")
    if not isinstance(value, str):
        raise InvalidRequest("promptyard.collection must be a string")
    require(principal, "documents:read")
    check_name("collection", value)
    return value


def _origin(options: Mapping[str, Any], principal: Principal) -> Origin:
    value = options.get("origin", "live")
    if value == "live":
        return Origin.LIVE
    if "admin" not in principal.scopes or value not in [origin.value for origin in Origin]:
        raise InvalidRequest("promptyard.origin is for keys with the scope 'admin'")
    return Origin(value)
