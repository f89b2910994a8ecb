"""The circuit of one model: when to leave it alone, and when to find out whether it is well again. Pure."""

from enum import StrEnum

from gateway.clock import Clock


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Not for use from several threads.

    Closed: all pass; ``failures`` in a row open it. Open: nothing passes for ``cooldown`` seconds. Half-open: one probe
    passes; its success closes the circuit, its failure opens it for another cooldown. What other workers have learned
    (``learn_open``, ``learn_closed``) counts as if it had been learned here.
    """

    def __init__(self, failures: int, cooldown: float, clock: Clock) -> None:
        self._failures = failures
        self._cooldown = cooldown
        self._clock = clock
        self._in_a_row = 0
        self._probe_from: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        if self._probe_from is None:
            return State.CLOSED
        return State.OPEN if self.retry_after > 0 else State.HALF_OPEN

    @property
    def retry_after(self) -> float:
        """Seconds until a probe may pass."""
        if self._probe_from is None:
            return 0.0
        return max(0.0, self._probe_from - self._clock.monotonic())

    def admit(self) -> bool | None:
        """True: passes as the probe. False: passes. None: does not pass."""
        if self._probe_from is None:
            return False
        if self._probing or self.retry_after > 0:
            return None
        self._probing = True
        return True

    def succeeded(self, *, probe: bool) -> None:
        if probe or self._probe_from is None:  # a call from before the opening proves nothing about now
            self._in_a_row, self._probe_from = 0, None

    def failed(self, *, probe: bool) -> bool:
        """Whether this failure opened the circuit."""
        if self._probe_from is not None and not probe:
            return False  # a straggler must not prolong the cooldown
        self._in_a_row += 1
        opens = probe or self._in_a_row >= self._failures
        if opens:
            self._probe_from = self._clock.monotonic() + self._cooldown
        return opens

    def released(self, *, probe: bool) -> None:
        """The call is over, whatever came of it: a cancelled probe lets the next one through."""
        if probe:
            self._probing = False

    def stand_back(self, seconds: float) -> None:
        """Another worker probes: do not ask again before that."""
        if self._probe_from is not None:
            self._probe_from = max(self._probe_from, self._clock.monotonic() + seconds)

    def learn_open(self, seconds: float) -> None:
        """Another worker opened it; a probe may pass in ``seconds``."""
        self._probe_from = self._clock.monotonic() + seconds

    def learn_closed(self) -> None:
        """Another worker's probe succeeded."""
        self._in_a_row, self._probe_from = 0, None
