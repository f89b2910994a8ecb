"""How this project declares Prefect tasks: nothing is cached or persisted by Prefect.

Answers are cached where that can be proved right, in the gateway's cache; results stay in memory, so that no question,
answer or key ends up in Prefect's result storage.
"""

from collections.abc import Callable
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from prefect import Task

P = ParamSpec("P")
R = TypeVar("R")


class Step(Generic[P, R]):
    """A Prefect task that becomes one when it is first called.

    Importing Prefect takes seconds, and commands that only look into the ledger use ``fn`` and make no run.
    """

    def __init__(self, fn: Callable[P, R], name: str) -> None:
        self.fn = fn
        self.name = name
        update_wrapper(self, fn)

    @cached_property
    def task(self) -> "Task[P, R]":
        """The task, for its hooks and options."""
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        return task(name=self.name, cache_policy=NO_CACHE, persist_result=False)(self.fn)

    def named(self, name: str) -> "Step[P, R]":
        """The same under another name, for a page that has several of its runs."""
        return Step(self.fn, name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """A task run; inside of a flow it is one of its run's."""
        from prefect.utilities.annotations import opaque

        # Prefect would look for futures in every field of every item, which takes seconds where there are hundreds.
        given: Any = [opaque(one) for one in args]
        named: Any = {name: opaque(one) for name, one in kwargs.items()}
        result: R = self.task(*given, **named)
        return result


def step(name: str) -> Callable[[Callable[P, R]], Step[P, R]]:
    """A task with a name that reads well on a run's page."""
    return lambda fn: Step(fn, name)
