"""What one worker knows of a budget's day, for when Redis has forgotten it or does not answer. Pure; no I/O."""

import math

LEDGER_LAG = 5.0
"""Seconds after which the ledger has what was spent: the ledger-writer looks five times a second."""


class Memory:
    """Of one scope and UTC day; amounts are nanodollars, times the monotonic clock's seconds.

    ``floor`` is the highest known spend (None: nothing is known). ``unbooked`` was spent here without Redis hearing of
    it: until the ledger has it, nobody else knows, so this worker lowers its limit by it. While Redis is down it is
    what the allowance is used up by; it is not forgotten before Redis answers again *and* the ledger was read later,
    so that a Redis that comes and goes does not renew the allowance each time.
    """

    def __init__(self) -> None:
        self.floor: int | None = None
        self.unbooked = 0
        self.held = 0
        self.ledger_tried_at = -math.inf
        self.ledger_took = 0.0
        self._ledger_read_at = -math.inf
        self._unbooked_at = -math.inf
        self._redis_answers = False

    def redis_said(self, spent: int) -> None:
        self._redis_answers = True
        self._saw(spent)

    def redis_is_silent(self) -> None:
        self._redis_answers = False

    def ledger_said(self, spent: int, began: float, took: float) -> None:
        """``began`` is when the look began, which ``took`` so many seconds."""
        self._ledger_read_at, self.ledger_took = began, took
        self._saw(spent)

    def hold(self, amount: int, *, limit: int, allowance: int) -> bool:
        """Reserve here, because Redis cannot: under the limit as far as is known, and the allowance in any case."""
        used = self.unbooked + self.held + amount
        if used > allowance or (self.floor or 0) + used > limit:
            return False
        self.held += amount
        return True

    def let_go(self, amount: int) -> None:
        self.held -= amount

    def spend(self, amount: int, now: float) -> None:
        """Spent, and Redis could not be told."""
        self.unbooked += amount
        self._unbooked_at = now

    def _saw(self, spent: int) -> None:
        self.floor = max(self.floor or 0, spent)
        if self._redis_answers and self._ledger_read_at > self._unbooked_at + LEDGER_LAG:
            self.unbooked = 0

    @property
    def spent(self) -> int:
        """As far as this worker knows."""
        return (self.floor or 0) + self.unbooked
