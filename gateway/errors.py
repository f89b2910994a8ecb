"""One tree of errors. Each knows its code, its HTTP status, whether a retry may help, and what to do next.

A message or hint never holds a key, a prompt text or an answer: it may be logged and shown to callers.
"""

from typing import Any, ClassVar, Protocol


class Tried(Protocol):
    """One try of a provider's model: ``types.Attempt``. ``error`` is a code, empty when it answered."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def latency_ms(self) -> float: ...
    @property
    def error(self) -> str: ...


class PromptyardError(Exception):
    """The root. ``hint`` says what to do next; ``retry_after`` is in seconds; ``attempts`` are what providers did."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = "Look for the call id in the gateway's log."

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint
        self.retry_after = retry_after
        self.attempts: tuple[Tried, ...] = ()


# --- the caller's side -------------------------------------------------------------------------------------------


class InvalidRequest(PromptyardError):
    code = "invalid_request"
    status = 400
    default_hint = "Compare the body with the API's schema at /docs."


class MalformedBody(InvalidRequest):
    code = "malformed_body"
    default_hint = "Send a JSON object with Content-Type: application/json."


class MissingVariable(InvalidRequest):
    code = "missing_variable"
    default_hint = "Pass every declared variable: extra_body={'variables': {...}}."


class BodyTooLarge(PromptyardError):
    code = "body_too_large"
    status = 413
    default_hint = "Send less, or raise PROMPTYARD_MAX_BODY_BYTES."


class RequestTimeout(PromptyardError):
    code = "request_timeout"
    status = 408
    retryable = True
    default_hint = "Send the whole body at once."


class Unauthenticated(PromptyardError):
    code = "unauthenticated"
    status = 401
    default_hint = "Send 'Authorization: Bearer <key>'; 'promptyard keys create' makes one."


class Forbidden(PromptyardError):
    code = "forbidden"
    status = 403
    default_hint = "Use a key that has the scope, or create one with 'promptyard keys create --scope ...'."


class NotFound(PromptyardError):
    code = "not_found"
    status = 404
    default_hint = "Check the name; 'promptyard versions' lists what is active."


class UnknownPrompt(NotFound):
    code = "unknown_prompt"


class UnknownDocument(NotFound):
    code = "unknown_document"
    default_hint = "Check the collection and the id."


class UnknownConversation(NotFound):
    code = "unknown_conversation"
    default_hint = "It was never begun, is another tenant's, or is past its retention: begin one with 'keep'."


class UnknownJob(NotFound):
    code = "unknown_job"
    default_hint = "'promptyard jobs list' or GET /v1/jobs lists those that are kept."


class Conflict(PromptyardError):
    code = "conflict"
    status = 409
    default_hint = "Read the current state and try again."


class IdempotencyConflict(Conflict):
    code = "idempotency_conflict"
    default_hint = "This Idempotency-Key was used with another body: send a new key with a new request."


class IdempotencyBusy(Conflict):
    """The first call with this Idempotency-Key is still under way."""

    code = "idempotency_in_progress"
    retryable = True
    default_hint = "Wait for Retry-After seconds and send the same request with the same key."


class UnknownModel(NotFound):
    code = "unknown_model"
    default_hint = "GET /v1/models lists what this gateway knows by name."


class ConversationBusy(Conflict):
    """Another turn of the conversation is under way."""

    code = "conversation_busy"
    retryable = True
    default_hint = "One turn at a time: wait for the other answer, then send this turn again."


class UnknownTool(NotFound):
    code = "unknown_tool"
    default_hint = "GET /v1/tools lists what is registered."


class ToolFailed(PromptyardError):
    """A registered tool raised or took too long."""

    code = "tool_failed"
    status = 502
    default_hint = "Look for the call id in the gateway's log; the tool's own message is not shown."


class RateLimited(PromptyardError):
    code = "rate_limited"
    status = 429
    retryable = True
    default_hint = "Wait for Retry-After seconds."


class TooManyJobs(RateLimited):
    code = "too_many_jobs"
    default_hint = "Wait until one has finished, or cancel one: GET /v1/jobs lists them."


class BudgetExhausted(PromptyardError):
    code = "budget_exhausted"
    status = 429
    default_hint = "Raise the budget in prompt.yaml or wait until it renews; 'promptyard costs' shows the spend."


class ClientGone(PromptyardError):
    """The caller closed the connection before its answer was complete."""

    code = "client_gone"
    status = 499


# --- the inside --------------------------------------------------------------------------------------------------


class Overloaded(PromptyardError):
    code = "overloaded"
    status = 503
    retryable = True
    default_hint = "Too many calls are in flight: retry after a moment."


class DocumentsChanging(PromptyardError):
    code = "documents_changing"
    status = 503
    retryable = True
    default_hint = "An import may be under way: retry after a moment."


class StorageUnavailable(PromptyardError):
    code = "storage_unavailable"
    status = 503
    retryable = True
    default_hint = "SQL or Redis cannot be reached: see /readyz."


# --- the providers' side -----------------------------------------------------------------------------------------


class ProviderError(PromptyardError):
    """A provider did not answer well. ``provider`` and ``model`` name the link of the chain."""

    code = "provider_error"
    status = 502
    retryable = True
    default_hint = "Every provider of the chain failed: see 'attempts', and the providers' status pages."
    fall_back: ClassVar[bool] = True
    """Whether the next link of the chain may help."""

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        model: str = "",
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, retry_after=retry_after)
        self.provider = provider
        self.model = model
        self.partial: Any = None
        """What a stream had answered before it broke off, as a ``types.Reply``; its usage as far as it was reported."""


class ProviderTimeout(ProviderError):
    code = "provider_timeout"
    status = 504


class ProviderUnreachable(ProviderError):
    code = "provider_unreachable"


class ProviderOverloaded(ProviderError):
    code = "provider_overloaded"


class ProviderRateLimited(ProviderError):
    code = "provider_rate_limited"


class ProviderRejectedKey(ProviderError):
    """The next provider has another key, so the chain goes on; the same provider is not asked again."""

    code = "provider_rejected_key"
    retryable = False
    default_hint = "Check the provider's API key in the stack's environment."


class ProviderRejectedRequest(ProviderError):
    """The request itself is wrong: another provider would refuse it too."""

    code = "provider_rejected_request"
    status = 400
    retryable = False
    fall_back = False
    default_hint = "The provider refused the parameters: see the message."


class ProviderUnknownModel(ProviderError):
    code = "provider_unknown_model"
    retryable = False
    default_hint = "Check the model's name in prompt.yaml: the provider does not know it."


class ProviderMalformed(ProviderError):
    code = "provider_malformed"


class StreamInterrupted(ProviderError):
    """The provider stopped after the first byte had reached the caller: nobody switches provider now.

    ``partial`` is what was delivered.
    """

    code = "stream_interrupted"
    fall_back = False


class BreakerOpen(ProviderError):
    """The breaker of this provider and model is open: it is not asked, the next link is.

    ``known_in``: seconds until it may be found out whether it is well again, 0 while somebody is finding out.
    """

    code = "breaker_open"
    retryable = False
    known_in: float | None = None


class ChainExhausted(ProviderError):
    """Every link failed. ``attempts`` tells how, one line a try."""

    code = "all_providers_failed"
    status = 502
