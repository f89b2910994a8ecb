"""The port of everything that answers a completion: a vendor, a retry, a breaker, a whole chain."""

from collections.abc import AsyncGenerator
from typing import Protocol

from gateway.types import Completion, Delta, Reply


class Provider(Protocol):
    """Answers completions, within ``request.total_timeout`` seconds, or raises a ``ProviderError``.

    An error's message holds no key, prompt or answer. Cancelling the awaiting task, or closing the iterator of a
    stream, closes the connection to the provider.
    """

    name: str

    async def complete(self, request: Completion) -> Reply:
        """The whole answer to ``request.messages`` by ``request.ref`` (a chain: by ``request.chain``)."""
        ...

    def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        """The answer in pieces; only the last Delta carries ``reply``, the whole of it.

        The first Delta comes within ``request.first_token_timeout`` seconds. Nothing may be switched or retried once
        it was yielded. Close the iterator (``contextlib.aclosing``) when leaving it early.
        """
        ...

    async def aclose(self) -> None:
        """Closes the connections; the provider is not usable afterwards."""
        ...
