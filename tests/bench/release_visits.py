"""Users of a release: each visit is a call through HTTP, with the feedback that follows it."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import aiohttp
import msgspec
from msgspec import Struct

from deployments.traffic.plan import Question
from deployments.traffic.report import is_right

IN_FLIGHT = 16
_PATIENCE = 60.0


class Visit(Struct, frozen=True):
    """One call that a user makes, and whether they say what they thought of its answer."""

    prompt: str
    user: str
    question: Question
    feedback: bool = False


class Seen(Struct, frozen=True):
    """What the user got. ``begun`` and ``ended`` are of ``time.time``; status 0: the connection broke."""

    visit: Visit
    begun: float
    ended: float
    status: int
    call_id: str = ""
    version: str = ""
    arm: str = ""
    error: str = ""
    right: bool | None = None
    told: bool = False
    """Whether feedback was posted and taken."""


@dataclass
class Visitors:
    """``gateways`` are addresses; visits go to them in turn."""

    gateways: Sequence[str]
    key: str = field(repr=False)
    _turn: Iterator[int] = field(default_factory=itertools.count)

    async def ask(self, visits: Sequence[Visit], in_flight: int = IN_FLIGHT) -> list[Seen]:
        """All of them, so many at once; what was seen, in their order."""
        places = asyncio.Semaphore(in_flight)
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=_PATIENCE)
        headers = {"authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as http:

            async def one(visit: Visit) -> Seen:
                async with places:
                    return await self._visit(http, visit)

            return list(await asyncio.gather(*map(one, visits)))

    async def _visit(self, http: aiohttp.ClientSession, visit: Visit) -> Seen:
        url = self.gateways[next(self._turn) % len(self.gateways)]
        body = {
            "model": f"prompt:{visit.prompt}",
            "messages": [],
            "user": visit.user,
            "variables": {"question": visit.question.text},
        }
        begun = time.time()
        try:
            async with http.post(f"{url}/v1/chat/completions", json=body) as response:
                status, call_id = response.status, response.headers.get("x-promptyard-call-id", "")
                told = msgspec.json.decode(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            return Seen(visit, begun, time.time(), 0, error=type(error).__name__)
        ended = time.time()
        if status != 200:
            code = str(told.get("error", {}).get("code", "")) or f"http_{status}"
            return Seen(visit, begun, ended, status, call_id, error=code)
        right = is_right(visit.question, told["choices"][0]["message"]["content"] or "")
        facts = told["promptyard"]
        fed = visit.feedback and await self._feed(http, url, told["id"], right)
        return Seen(visit, begun, ended, 200, told["id"], facts["version"], facts["arm"], "", right, fed)

    @staticmethod
    async def _feed(http: aiohttp.ClientSession, url: str, call_id: str, right: bool) -> bool:
        body = {"call_id": call_id, "metric": "helpful", "value": float(right)}
        try:
            async with http.post(f"{url}/v1/feedback", json=body) as response:
                return response.status == 202
        except (aiohttp.ClientError, TimeoutError):
            return False
