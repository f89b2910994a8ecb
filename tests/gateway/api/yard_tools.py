"""Tools of a yard of our own, as a team would write them."""

import itertools

from gateway.tools.context import ToolContext
from gateway.tools.registry import tool

_TICKETS = itertools.count(1)
SECRET = "the database password is hunter2"


@tool
async def whoami(context: ToolContext) -> dict[str, str]:
    """Say for which tenant this works."""
    return {"tenant": context.tenant, "collection": context.collection}


@tool
def ticket() -> int:
    """Draw the next number."""
    return next(_TICKETS)


@tool(repeatable=True)
def broken() -> str:
    """Fail."""
    raise RuntimeError(SECRET)


@tool(repeatable=True)
def padded(size: int) -> str:
    """Talk at length."""
    return "x" * size
