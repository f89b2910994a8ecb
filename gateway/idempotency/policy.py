"""The bounds of idempotency."""

from random import Random

from msgspec import Struct


class IdempotencyPolicy(Struct, frozen=True, kw_only=True):
    """Times are seconds, sizes are bytes; numbers of waiting calls and answers are those of one worker."""

    retention: float = 86_400.0
    """How long a key is remembered after its first call."""
    lease: float = 30.0
    """How long a worker that does not say so any more is believed to be alive; far more than its clock may be off."""
    longest_hold: float = 600.0
    """How long a claim is renewed: a call that ended without saying so must not hold its key for ever."""
    wait: float = 65.0
    """How long a call waits for another with its key: a little longer than the longest call."""
    first_pause: float = 0.05
    longest_pause: float = 1.0
    max_waiting: int = 256
    claim_wait: float = 5.0
    """How long a call waits for SQL to say how its key stands: threads that wait for a lock must not queue up calls."""
    max_claiming: int = 256
    """Calls that may ask SQL so at once."""
    max_outcome_bytes: int = 4_000_000
    store_wait: float = 2.0
    """How long an answer waits to be stored before it leaves all the same."""
    store_patience: float = 600.0
    """How long storing it is tried after that."""
    max_unstored: int = 1_000
    max_unstored_bytes: int = 64_000_000


def pause_after(tries: int, policy: IdempotencyPolicy, entropy: Random) -> float:
    """Seconds before SQL is asked again: doubling up to the longest pause, each less up to half of it at random."""
    pause = min(policy.longest_pause, policy.first_pause * 2.0 ** min(tries, 20))
    return pause * (1 - entropy.random() / 2)
