"""The registered tools, as the request path uses them."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.errors import UnknownTool
from gateway.types import Call, Message


class Toolbox:
    """Safe to share between all calls of one event loop."""

    def definitions(self, names: Sequence[str]) -> list[Mapping[str, Any]]:
        """In OpenAI's shape. Raises UnknownTool."""
        if names:
            raise UnknownTool(f"there is no tool {names[0]!r}")
        return []

    def owns(self, names: Sequence[str], message: Message) -> bool:
        """Whether the message calls tools, all of them among ``names``."""
        return False

    def repeatable(self, names: Sequence[str], message: Message) -> bool:
        """Whether the tools that it calls give the same results again."""
        return False

    async def run(self, call: Call, message: Message) -> Sequence[Message]:
        """The tools' results as messages."""
        return ()
