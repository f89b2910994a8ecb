"""From what a provider's connection raises to the project's errors. Pure.

A provider's own message may repeat the key or the prompt, so it is never quoted: only identifiers are (the error's
type, its code, the name of the parameter).
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from json import JSONDecodeError
from typing import Any

import aiohttp
import httpx2
import msgspec

from gateway.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRejectedKey,
    ProviderRejectedRequest,
    ProviderTimeout,
    ProviderUnknownModel,
    ProviderUnreachable,
)
from gateway.providers.plain_post import AnswerTooLarge, Refused
from gateway.types import ModelRef

TRANSPORT_ERRORS: tuple[type[Exception], ...] = (
    Refused,
    AnswerTooLarge,
    httpx2.HTTPError,
    httpx2.StreamError,
    httpx2.InvalidURL,
    aiohttp.ClientError,
    JSONDecodeError,
    msgspec.MsgspecError,
    UnicodeError,
    OSError,  # TimeoutError is one
)
"""What talking to a provider may raise. Anything else is our defect and passes."""

_BY_STATUS: Mapping[int, type[ProviderError]] = {
    400: ProviderRejectedRequest,
    401: ProviderRejectedKey,
    402: ProviderRejectedKey,
    403: ProviderRejectedKey,
    404: ProviderUnknownModel,
    405: ProviderUnknownModel,
    408: ProviderTimeout,
    409: ProviderOverloaded,
    410: ProviderUnknownModel,
    413: ProviderRejectedRequest,
    422: ProviderRejectedRequest,
    429: ProviderRateLimited,
    502: ProviderUnreachable,
    503: ProviderOverloaded,
    504: ProviderTimeout,
    529: ProviderOverloaded,
}
_BY_TYPE: Mapping[str, type[ProviderError]] = {
    "invalid_request_error": ProviderRejectedRequest,
    "authentication_error": ProviderRejectedKey,
    "permission_error": ProviderRejectedKey,
    "billing_error": ProviderRejectedKey,
    "not_found_error": ProviderUnknownModel,
    "rate_limit_error": ProviderRateLimited,
    "rate_limit_exceeded": ProviderRateLimited,
    "timeout_error": ProviderTimeout,
    "overloaded_error": ProviderOverloaded,
}
_OUT_OF_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,79}")
_LEADING_PARAMETER = re.compile(r"`?([a-z_]+(?:\.[a-z0-9_]+){0,6})`?(?:: | is )")


def from_exception(error: BaseException, ref: ModelRef, *, now: float) -> ProviderError:
    """The project's error for one of ``TRANSPORT_ERRORS`` or an SDK's; ``now``: seconds since the epoch."""
    if isinstance(error, Refused):
        if error.status < 300:
            return from_body(error.body, ref)
        return from_status(error.status, error.headers, error.body, ref, now=now)
    response = getattr(error, "response", None)
    body = getattr(error, "body", None)
    if isinstance(response, httpx2.Response) and response.status_code >= 300:
        return from_status(response.status_code, response.headers, body, ref, now=now)
    if body is not None:
        return from_body(body, ref)
    if isinstance(error, UnicodeEncodeError):
        return ProviderRejectedRequest(
            "A text of the request is not valid Unicode.", provider=ref.provider, model=ref.model
        )
    if isinstance(error, AnswerTooLarge):
        return ProviderMalformed(f"{ref} sent more than anybody may.", provider=ref.provider, model=ref.model)
    if isinstance(error, JSONDecodeError | msgspec.MsgspecError | UnicodeDecodeError):
        return ProviderMalformed(f"{ref} sent something that is not JSON.", provider=ref.provider, model=ref.model)
    if _is_timeout(error):
        return ProviderTimeout(f"{ref} did not answer in time.", provider=ref.provider, model=ref.model)
    return ProviderUnreachable(
        f"The connection to {ref} failed: {type(error).__name__}.", provider=ref.provider, model=ref.model
    )


def from_status(status: int, headers: Mapping[str, str], body: object, ref: ModelRef, *, now: float) -> ProviderError:
    """The project's error for an HTTP answer that is not a success."""
    detail = _detail(body)
    fallback = ProviderRejectedRequest if 400 <= status < 500 else ProviderError
    kind = _BY_STATUS.get(status, fallback)
    if 300 <= status < 400:
        kind = ProviderUnknownModel
    if status == 429 and not _OUT_OF_CREDIT.isdisjoint(detail.values()):
        kind = ProviderRejectedKey
    message = f"{ref} answered {status}{_quoted(detail)}."
    return kind(message, provider=ref.provider, model=ref.model, retry_after=retry_after(headers, now=now))


def from_body(body: object, ref: ModelRef) -> ProviderError:
    """The project's error for an error object that came with a success status, as in a stream."""
    detail = _detail(body)
    named = (kind for name in (detail.get("type"), detail.get("code")) if name and (kind := _BY_TYPE.get(name)))
    kind = next(named, ProviderError)
    return kind(f"{ref} sent an error{_quoted(detail)}.", provider=ref.provider, model=ref.model)


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait by ``Retry-After`` (RFC 9110, 10.2.3: seconds or a date) or OpenAI's ``retry-after-ms``."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - now)
    except (KeyError, ValueError, TypeError):
        return None


def _is_timeout(error: BaseException) -> bool:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and len(causes) < 8:
        causes.append(cause)
    # OpenAI's transport reports a refused connection as a time-out: aiohttp's own error, further down, knows better.
    for cause in causes:
        if isinstance(cause, aiohttp.ClientError):
            return isinstance(cause, aiohttp.ServerTimeoutError)
    return any(isinstance(cause, TimeoutError | httpx2.TimeoutException) for cause in causes)


def _detail(body: object) -> dict[str, str]:
    """The identifiers in an error object: ``type``, ``code`` and ``param``."""
    error: Any = body.get("error", body) if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return {}
    found = {
        name: value
        for name in ("type", "code", "param")
        if isinstance(value := error.get(name), str) and _IDENTIFIER.fullmatch(value)
    }
    message = error.get("message")
    if "param" not in found and isinstance(message, str) and (match := _LEADING_PARAMETER.match(message)):
        found["param"] = match[1]
    return found


def _quoted(detail: Mapping[str, str]) -> str:
    return f" ({', '.join(f'{name} {value}' for name, value in detail.items())})" if detail else ""
