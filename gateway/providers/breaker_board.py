"""What the workers tell each other about circuits: the port, and what stands for it where there is one worker only."""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from gateway.types import ModelRef

LOOK_EVERY = 0.25
"""Seconds until what one worker learned is known to all."""

Listener = Callable[[str, float | None], None]
"""Takes a model, and the seconds until a probe may pass; None when a probe succeeded."""


class Claim(StrEnum):
    """GRANTED: you probe. REFUSED: another worker does, or it is too early. CLOSED: one did, and it is well again."""

    GRANTED = "granted"
    REFUSED = "refused"
    CLOSED = "closed"


class BreakerBoard(Protocol):
    """No method raises or waits for long: without the others each worker goes on by what it has learned itself.

    ``opened``, ``closed`` and ``released`` end the probe that this worker had claimed, if it had.
    """

    def listen(self, provider: str, listener: Listener) -> None:
        """Tell the listener what other workers learn about this provider's models."""
        ...

    async def claim(self, ref: ModelRef) -> Claim:
        """The right to be the one probe of a half-open circuit. It ends with the worker that holds it."""
        ...

    def opened(self, ref: ModelRef, cooldown: float) -> None: ...
    def closed(self, ref: ModelRef) -> None: ...
    def released(self, ref: ModelRef) -> None: ...


class Alone:
    """A board for one worker."""

    def listen(self, provider: str, listener: Listener) -> None: ...
    async def claim(self, ref: ModelRef) -> Claim:
        return Claim.GRANTED

    def opened(self, ref: ModelRef, cooldown: float) -> None: ...
    def closed(self, ref: ModelRef) -> None: ...
    def released(self, ref: ModelRef) -> None: ...
