"""Lists of items worked on at once: in threads of this process, or in processes of a Dask cluster, by the same code.

``PROMPTYARD_TASK_RUNNER=dask`` is the one setting; it needs the extra ``dask``. With ``PROMPTYARD_DASK_SCHEDULER`` the
work goes to a cluster that runs already, whose workers have this package installed; else to processes of this machine.
What is handed over must be picklable: Dask sends it to its workers, over its own connections only.
"""

from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.errors import PromptyardError
from gateway.settings import Settings
from tasks.artifacts import Progress
from tasks.step import Step

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

A = TypeVar("A", bound=Sized)
R = TypeVar("R")

_watching: ContextVar[Callable[[str], None] | None] = ContextVar("watching", default=None)


class DaskMissing(PromptyardError):
    code = "dask_missing"
    default_hint = "pip install 'promptyard[dask]', or set PROMPTYARD_TASK_RUNNER=threads."


@contextmanager
def watched(tell: Callable[[str], None]) -> Iterator[None]:
    """What is done so far is told in words, in this thread, while evaluations run inside of the block."""
    token = _watching.set(tell)
    try:
        yield
    finally:
        _watching.reset(token)


class Bar:
    """How far an evaluation is: a progress bar on the run's page, and words for whoever watches."""

    def __init__(self, key: str, total: int) -> None:
        self._key, self._total, self._done = key, total, 0
        self._progress = Progress()

    def expect(self, count: int) -> None:
        """``count`` more are to be done."""
        self._total += count

    def add(self, count: int) -> None:
        """``count`` more are done."""
        self._done += count
        words = f"{self._done} of {self._total} answered and judged"
        if tell := _watching.get():
            tell(words)
        self._progress.show(self._key, min(1.0, self._done / max(self._total, 1)), words)


@dataclass(frozen=True)
class FanOut:
    """An open task runner. ``processes``: among how many the calls in flight are shared; None: threads of this one."""

    runner: "TaskRunner[Any]"
    bar: Bar
    processes: int | None = None

    def map(self, step: Step[[A], R], name: str, parts: Sequence[A]) -> list[R]:
        """A task run for each part, the results in order. Raises what a part raises."""
        from prefect.futures import as_completed
        from prefect.utilities.annotations import opaque

        task: Any = step.task.with_options(name=name)
        (parameter,) = signature(step.fn).parameters
        sizes = {}
        for part in parts:
            # Prefect would look for futures in every field of every item. Dask hands what says so over as a tuple.
            given = opaque(part) if self.processes is None else part
            sizes[self.runner.submit(task, parameters={parameter: given})] = len(part)
        for future in as_completed(list(sizes)):
            self.bar.add(sizes[future])
        return [future.result() for future in sizes]


@contextmanager
def fan_out(settings: Settings, bar: Bar) -> Iterator[FanOut]:
    """Raises DaskMissing where Dask is asked for and not installed; nothing was started then."""
    if settings.task_runner == "dask":
        with _dask(settings) as runner:
            yield FanOut(runner, bar, settings.task_workers)
        return
    from prefect.task_runners import ThreadPoolTaskRunner

    threads: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=settings.task_workers)
    with threads as runner:
        yield FanOut(runner, bar)


@contextmanager
def _dask(settings: Settings) -> Iterator["TaskRunner[Any]"]:
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError:
        raise DaskMissing("PROMPTYARD_TASK_RUNNER is dask, and Dask is not installed") from None
    on_this_machine = {
        "n_workers": settings.task_workers,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": None,
    }
    runner = (
        DaskTaskRunner(address=settings.dask_scheduler)
        if settings.dask_scheduler
        else DaskTaskRunner(cluster_kwargs=on_this_machine)
    )
    with runner:
        yield runner
