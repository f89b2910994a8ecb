"""``python -m gateway.app`` with a statistical profiler that sleeps until it is asked.

SIGUSR1 begins; SIGUSR2 ends and writes the shares to the file named by ``PROMPTYARD_BENCH_PROFILE``. While it runs, the
kernel interrupts the process by its CPU time (every few milliseconds: at the kernel's own tick), and the stack of the
main thread is looked at between two steps of the interpreter: time inside of C is seen at its return, in its caller.
"""

import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

import msgspec

from gateway.app import main
from tests.bench.rooms import room_of

INTERVAL = 0.001


class Profiler:
    """Samples by room."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._rooms: Counter[str] = Counter()
        self._places: Counter[str] = Counter()

    def install(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.signal(signal.SIGUSR1, self._begin)
        signal.signal(signal.SIGUSR2, self._end)

    def _begin(self, *_: object) -> None:
        self._rooms.clear()
        self._places.clear()
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def _end(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        draft = self._report.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode({"rooms": dict(self._rooms), "places": dict(self._places)}))
        draft.replace(self._report)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        room, place = room_of(frame)
        self._rooms[room] += 1
        self._places[place] += 1


if __name__ == "__main__":
    if report := os.environ.get("PROMPTYARD_BENCH_PROFILE"):
        Profiler(Path(report)).install()
    main()
