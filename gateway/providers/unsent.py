"""Errors of requests that are not sent: what a provider cannot express, and what nobody could take."""

from gateway.errors import ProviderError, ProviderRejectedRequest
from gateway.types import Completion


class ProviderLacksFeature(ProviderError):
    """The provider cannot express the request at all; nothing was sent, and another provider may be able to."""

    code = "provider_lacks_feature"
    status = 400
    retryable = False
    default_hint = "Leave the parameter out, or put a provider that knows it into the chain."


def lacks(request: Completion, what: str) -> ProviderLacksFeature:
    """``what`` names the feature, never its value."""
    ref = request.ref
    return ProviderLacksFeature(f"{ref} does not know {what}.", provider=ref.provider, model=ref.model)


def malformed(request: Completion, what: str) -> ProviderRejectedRequest:
    """For a request that no provider would take; ``what`` says what it should be, never what it is."""
    ref = request.ref
    return ProviderRejectedRequest(f"The request is malformed: {what}.", provider=ref.provider, model=ref.model)
