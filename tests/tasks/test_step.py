"""A step is a Prefect task, and none until it is called."""

import subprocess
import sys

from tasks.step import step


@step("add two numbers")
def add(left: int, right: int = 1) -> int:
    """The sum."""
    return left + right


def test_the_function_inside_is_called_without_a_run() -> None:
    assert add.fn(2, right=3) == 5
    assert (add.name, add.__doc__) == ("add two numbers", "The sum.")


def test_it_becomes_one_task_that_keeps_nothing() -> None:
    from prefect.cache_policies import NO_CACHE

    assert add.task is add.task
    assert (add.task.name, add.task.persist_result, add.task.cache_policy) == ("add two numbers", False, NO_CACHE)


def test_declaring_one_imports_no_prefect() -> None:
    code = (
        "import sys\nfrom tasks.step import step\n"
        "assert step('double')(lambda value: 2 * value).fn(2) == 4\nprint('prefect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
