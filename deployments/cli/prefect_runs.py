"""Running a flow inside a command: against the stack's servers or not at all, quietly, its stages made visible."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from deployments.cli.quiet import quiet_libraries
from deployments.cli.stack_home import connected_settings
from deployments.stack.errors import StackError

if TYPE_CHECKING:
    from deployments.cli.stages import StageView
    from gateway.settings import Settings

HEALTH_TIMEOUT = 3.0


class RunFailed(StackError):
    """A flow ended with an error that this project did not expect."""

    code = "run_failed"
    default_hint = "The run's page in Prefect has its log; 'promptyard status' shows what runs."


def connected_to_servers() -> "Settings":
    """Settings of a home whose Prefect and MLflow answer. Call it before either is imported.

    Raises StackError otherwise: without an address Prefect would start a server of its own, unseen.
    """
    quiet_libraries()  # the run's page keeps its log; the terminal belongs to the command
    settings = connected_settings()
    api = os.environ.get("PREFECT_API_URL") or settings.prefect_api_url
    for name, url in (("Prefect", api and f"{api.rstrip('/')}/health"), ("MLflow", _health(settings))):
        if not url:
            raise StackError(
                f"no stack runs in {settings.home}: there is no {name}", hint="'promptyard up' starts one."
            )
        if not _answers(url):
            raise StackError(
                f"{name} does not answer at {url.removesuffix('/health')}",
                hint="'promptyard up' starts it, 'promptyard status' shows what runs.",
            )
    os.environ.setdefault("PREFECT_API_URL", api)
    return settings


def _health(settings: "Settings") -> str:
    uri = settings.mlflow_tracking_uri
    return f"{uri.rstrip('/')}/health" if uri.startswith(("http://", "https://")) else uri


def _answers(url: str) -> bool:
    if not url.startswith(("http://", "https://")):
        return True  # a file or a database: no server to ask
    try:
        with urllib.request.urlopen(url, timeout=HEALTH_TIMEOUT) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


@contextmanager
def shown(view: "StageView", flows: Mapping[Any, str], tasks: Mapping[Any, str]) -> Iterator[None]:
    """Each flow or task named here is a stage while it runs. The hooks are taken off at the end.

    ``flows`` are stages; ``tasks`` with an empty name are details of the stage that runs, the others are stages.
    """

    def begins(name: str) -> Any:
        def hook(_what: Any, _run: Any, _state: Any) -> None:
            view.begin(name)

        return hook

    def ends(_what: Any, _run: Any, _state: Any) -> None:
        view.end()

    def fails(_what: Any, _run: Any, _state: Any) -> None:
        view.end(failed=True)

    def details(task: Any, _run: Any, _state: Any) -> None:
        view.detail(str(task.name))

    added: list[tuple[list[Any], Any]] = []

    def add(hooks: list[Any], hook: Any) -> None:
        hooks.append(hook)
        added.append((hooks, hook))

    for what, name in (*flows.items(), *tasks.items()):
        if not name:
            add(what.on_running_hooks, details)
            continue
        add(what.on_running_hooks, begins(name))
        add(what.on_completion_hooks, ends)
        add(what.on_failure_hooks, fails)
    try:
        yield
    finally:
        for hooks, hook in added:
            hooks.remove(hook)
