"""Documents whose right answer is known at any time, so that one that is older than what was acknowledged shows. Pure.

Each subject has a document that states its code, and from time to time a second one that answers better: the code is
then that one's. A change is a new document version, a better document that comes, changes or goes.
"""

import random
import re
from dataclasses import dataclass, field
from typing import Any

_NOUNS = """
anchor apple banjo basket beacon bridge candle carpet castle cherry copper cotton dragon engine falcon feather garden
ginger guitar hammer harbor helmet island jacket jungle kettle ladder lantern lemon magnet marble meadow mirror needle
orchid oyster paddle parrot pepper pillow planet pocket quartz rabbit ribbon saddle silver spider temple timber
"""
SUBJECTS = tuple(_NOUNS.split())
_CODE = re.compile(rb"code is ([a-z]+-[vb]\d+)\.")
_CACHE = re.compile(rb'"layer": ?"(\w+)", ?"reason": ?"(\w*)"')


@dataclass(frozen=True)
class Write:
    """One change of one document; ``body`` None deletes it. ``code`` is the subject's as soon as it is acknowledged."""

    document: str
    body: dict[str, Any] | None
    code: str


@dataclass
class Subject:
    """``codes`` in the order in which they were sent. One write at a time."""

    name: str
    codes: list[str] = field(default_factory=list)
    acknowledged: int = -1
    """The position of the newest code that was acknowledged."""
    _number: int = 0
    _base: str = ""
    _better: bool = False

    def question(self, take: int) -> str:
        return f"What is the {self.name} code, take {take}?"

    def next_write(self, draw: random.Random) -> Write:
        """What changes next; its code counts as sent from now on."""
        self._number += 1
        if self._better and draw.random() < 0.5:
            write = Write(f"{self.name}-better", None, self._base)
            self._better = False
        elif self._base and (self._better or draw.random() < 0.3):
            code = f"{self.name}-b{self._number}"
            text = f"What is the {self.name} code? The {self.name} code is {code}."
            write = Write(f"{self.name}-better", {"title": f"What is the {self.name} code", "text": text}, code)
            self._better = True
        else:
            self._base = f"{self.name}-v{self._number}"
            text = f"The {self.name} code is {self._base}."
            write = Write(self.name, {"title": self.name, "text": text}, self._base)
        self.codes.append(write.code)
        return write

    def acknowledge(self) -> None:
        """The last write has returned."""
        self.acknowledged = len(self.codes) - 1

    def wrong(self, asked_at: int, body: bytes) -> str:
        """What is wrong with an answer to a question that was asked when code ``asked_at`` was acknowledged."""
        found = _CODE.search(body)
        said = found[1].decode() if found else ""
        right = self.codes[max(asked_at, 0) :]
        return "" if said in right else f"{said or body[:300]!r} when {right} were true"


def origin_of(body: bytes) -> str:
    """Which layer of the cache a 200 says it came from, and why."""
    found = _CACHE.search(body)
    return f"{found[1].decode()} ({found[2].decode()})" if found else "?"
