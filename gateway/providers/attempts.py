"""How the tries of a call travel up through composed providers: on the reply, or on the error."""

from typing import cast

from gateway.errors import ProviderError
from gateway.types import Attempt, ModelRef, Reply


def of_error(error: ProviderError) -> tuple[Attempt, ...]:
    """The tries that ended in this error, oldest first; empty when none were recorded."""
    return cast(tuple[Attempt, ...], error.attempts)


def attach(error: ProviderError, tries: tuple[Attempt, ...]) -> ProviderError:
    """The same error, carrying ``attempts``."""
    error.attempts = tries
    return error


def failed(error: ProviderError, ref: ModelRef, latency_ms: float) -> tuple[Attempt, ...]:
    """What an inner provider recorded, or else one failed try of ``ref``."""
    return of_error(error) or (Attempt(ref.provider, ref.model, latency_ms, error.code),)


def succeeded(reply: Reply, ref: ModelRef, latency_ms: float) -> tuple[Attempt, ...]:
    """What an inner provider recorded, or else one good try of ``ref``."""
    return reply.attempts or (Attempt(ref.provider, ref.model, latency_ms),)
