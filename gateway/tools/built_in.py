"""The tools that every gateway has."""

from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import Field

from gateway.tools import arithmetic
from gateway.tools.context import ToolContext, ToolRefusal
from gateway.tools.registry import tool


@tool(shareable=True)
async def search_documents(
    context: ToolContext,
    query: Annotated[str, Field(min_length=1, max_length=2_000, description="What to look for, in plain words.")],
    top_k: Annotated[int, Field(ge=1, le=20, description="How many passages at most.")] = 4,
) -> list[dict[str, Any]]:
    """Search the documents that belong to this conversation; gives the best passages first.

    Not repeatable: documents change, and what was found is no part of what the answer cache holds an answer against.
    """
    passages = await context.search(query, top_k)
    return [
        {"document": p.document, "version": p.version, "title": p.title, "text": p.text, "score": round(p.score, 4)}
        for p in passages
    ]


@tool(shareable=True)
def current_time(
    context: ToolContext,
    timezone: Annotated[str, Field(max_length=64, description="An IANA name such as Europe/Paris.")] = "UTC",
) -> dict[str, str]:
    """Tell the current date and time."""
    try:
        zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
    except (ValueError, LookupError, OSError):  # no such zone, no name of one, or a folder of zones
        raise ToolRefusal("there is no such time zone: use an IANA name such as Europe/Paris") from None
    now = datetime.fromtimestamp(context.clock.now(), zone)
    return {"time": now.isoformat(timespec="seconds"), "weekday": now.strftime("%A"), "timezone": timezone}


@tool(repeatable=True)
async def calculate(
    expression: Annotated[
        str, Field(min_length=1, max_length=arithmetic.MAX_CHARS, description="Such as (12 + 3.5) * 7 ** 2.")
    ],
) -> int | float:
    """Calculate an arithmetic expression exactly: + - * / // % **, parentheses, pi, e, sqrt, round, abs, min, max."""
    try:
        return arithmetic.calculate(expression)
    except arithmetic.ArithmeticProblem as problem:
        raise ToolRefusal(str(problem)) from None
