"""``promptyard``: joins the groups of commands.

Each group is a module with ``register(app)``; heavy libraries are imported inside its commands, so that ``--help``
answers at once. To add a group, add its module to ``GROUPS``.
"""

import gc
import sys

import typer

from deployments.cli import (
    cache,
    certificate,
    costs,
    demo,
    diff,
    documents,
    drill,
    experiment,
    jobs,
    judge,
    keys,
    register,
    release,
    rollback,
    stack_commands,
    traffic,
    versions,
)
from gateway.errors import PromptyardError

_ALLOCATIONS = 20_000
"""Between two collections of young objects; Python's own choice is 700."""

GROUPS = (
    stack_commands,
    register,
    release,
    rollback,
    versions,
    diff,
    certificate,
    experiment,
    documents,
    traffic,
    costs,
    cache,
    judge,
    jobs,
    keys,
    demo,
    drill,
)


def build() -> typer.Typer:
    """The application with every group in it."""
    app = typer.Typer(
        name="promptyard",
        help="Ship prompts the way you ship code: register, gate, canary, promote, warm, watch, invalidate.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    for group in GROUPS:
        group.register(app)
    return app


def run() -> None:
    """The console script. An expected error is a sentence and what to do next, on stderr, with exit status 1."""
    # Most of a command's time goes into imports, a quarter of it into collections that go through what they made.
    gc.set_threshold(_ALLOCATIONS)
    try:
        build()()
    except PromptyardError as error:
        print(f"error: {error.message}", file=sys.stderr)
        print(f"hint: {error.hint}", file=sys.stderr)
        sys.exit(1)
    finally:
        gc.freeze()  # nor is all of it looked at once more at the end


if __name__ == "__main__":
    run()
