"""Why a call may not go on now, and when it may."""

from msgspec import Struct

from gateway.errors import PromptyardError


class Refusal(Struct, frozen=True):
    """``wait`` (seconds, more than 0) until it may fit; ``error`` is for the caller who does not wait."""

    wait: float
    error: PromptyardError
