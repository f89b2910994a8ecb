"""Live traffic in the background while the story goes on."""

import asyncio
import threading

from deployments.traffic.plan import TrafficPlan
from deployments.traffic.player import play
from deployments.traffic.report import TrafficReport


class BackgroundTraffic:
    """Plays a plan in a thread of its own until it is stopped; use it as a context manager."""

    def __init__(self, plan: TrafficPlan) -> None:
        self._plan = plan
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._report: TrafficReport | None = None
        self._problem: BaseException | None = None

    def __enter__(self) -> "BackgroundTraffic":
        self._thread.start()
        self._ready.wait(timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> TrafficReport | None:
        """End the traffic and say how it went. Raises what ended it before, if anything did."""
        if self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=60)
        if self._problem is not None:
            raise self._problem
        return self._report

    def _run(self) -> None:
        try:
            self._report = self._loop.run_until_complete(self._play())
        except BaseException as problem:
            self._problem = problem
        finally:
            self._ready.set()
            self._loop.close()

    async def _play(self) -> TrafficReport:
        self._stop = asyncio.Event()
        self._ready.set()
        return await play(self._plan, stop=self._stop)
