"""Which home a command works in, and how it reaches what runs there."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deployments.stack.home import StackHome
    from gateway.settings import Settings


def stack_home() -> "StackHome":
    """The home that PROMPTYARD_HOME names, ``.promptyard`` by default."""
    from deployments.stack.home import StackHome
    from gateway.settings import Settings

    return StackHome.at(Settings().home)


def connected_settings() -> "Settings":
    """Settings that point at this home's running stack; whatever the shell sets wins.

    Call it before Prefect or MLflow is imported: both read their addresses then.
    """
    from deployments.stack.state import apply_environment, load_stack
    from gateway.settings import Settings

    apply_environment(load_stack(stack_home()))
    return Settings()
