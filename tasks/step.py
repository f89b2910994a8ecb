"""How this project declares Prefect tasks: nothing is cached or persisted by Prefect.

Answers are cached where that can be proved right, in the gateway's cache; results stay in memory, so that no question,
answer or key ends up in Prefect's result storage.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

P = ParamSpec("P")
R = TypeVar("R")


def step(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A task with a name that reads well on a run's page."""
    return task(name=name, cache_policy=NO_CACHE, persist_result=False)
