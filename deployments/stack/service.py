"""A service as a value: what to start, when it is ready, how it ends. The supervisor knows nothing else."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Http:
    """Ready when a GET answers 2xx."""

    url: str


@dataclass(frozen=True)
class Tcp:
    """Ready when the port accepts and, after ``say``, answers with ``expect``."""

    host: str
    port: int
    say: bytes = b""
    expect: bytes = b""


@dataclass(frozen=True)
class LogLine:
    """Ready when this text appears in its log: for services that listen nowhere."""

    text: str


@dataclass(frozen=True)
class Steady:
    """Ready when it has run for so many seconds: for services that neither listen nor speak."""

    seconds: float


@dataclass(frozen=True)
class Exits:
    """A job: done when it ends with status 0."""


Ready = Http | Tcp | LogLine | Steady | Exits


@dataclass(frozen=True)
class Restart:
    """At most ``attempts`` restarts within ``within`` seconds, the n-th after ``delay * 2**(n-1)`` seconds."""

    attempts: int = 0
    within: float = 60.0
    delay: float = 0.5
    longest: float = 8.0

    def wait(self, crashes: Sequence[float], now: float) -> float | None:
        """Seconds until the next start after the crashes at these times; None: give up."""
        recent = sum(1 for crash in crashes if now - crash <= self.within)
        if recent > self.attempts:
            return None
        return float(min(self.longest, self.delay * 2 ** (max(1, recent) - 1)))


NEVER = Restart()


@dataclass(frozen=True)
class Service:
    """One line of the stack's table.

    ``env`` comes on top of the stack's environment; ``after`` names what must be ready first; ``grace`` is the number
    of seconds between the stop signal and SIGKILL; ``patience`` the seconds it may take to become ready.
    """

    name: str
    argv: tuple[str, ...]
    ready: Ready
    env: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    restart: Restart = NEVER
    stop_signal: int = signal.SIGTERM
    grace: float = 5.0
    patience: float = 120.0

    @property
    def is_job(self) -> bool:
        return isinstance(self.ready, Exits)


def stop_order(services: Sequence[Service]) -> list[list[Service]]:
    """Rounds in which to stop: a service goes before everything that it was started after.

    Raises ValueError when a name is unknown or the dependencies go round in a circle.
    """
    by_name = {service.name: service for service in services}
    for service in services:
        for name in service.after:
            if name not in by_name:
                raise ValueError(f"service '{service.name}' waits for '{name}', which is not in the table")
    rounds: list[list[Service]] = []
    left = dict(by_name)
    while left:
        needed = {name for service in left.values() for name in service.after}
        outermost = [service for name, service in left.items() if name not in needed]
        if not outermost:
            raise ValueError(f"services wait for each other in a circle: {', '.join(left)}")
        rounds.append(outermost)
        for service in outermost:
            del left[service.name]
    return rounds
