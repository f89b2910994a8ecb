"""Users who ask several gateways on and on, and when each of their calls was admitted, by which version answered."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from gateway.prompts.splits import BASIS, bucket
from tests.bench.connection import Caller, post_request

CALLERS = 3
"""On each gateway."""
PROMPT, OLD, NEW, SALT = "help", "1.0.0", "1.1.0", "a salt that is fixed"
WEIGHT = 50
_QUESTIONS = ("How much does the Solo plan cost per month?", "How long is the free trial?")
_USERS = 12
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PACE = 0.01
"""Seconds between an answer and its caller's next question."""


class Told(Struct, frozen=True):
    """An answer. ``admitted`` is when the gateway took the call in, by its clock, to the millisecond; seconds."""

    gateway: int
    admitted: float
    version: str


class Reply(Struct):
    """What of an answer's body is looked at."""

    id: str
    promptyard: dict[str, Any]


@dataclass
class Load:
    """Callers who ask until they are told to stop. ``told`` grows."""

    gateways: Sequence[str]
    key: str = field(repr=False)
    told: list[Told] = field(default_factory=list)
    errors: int = 0

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator["Load"]:
        users = canary_users()
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS * len(self.gateways)):
                user = users[number % len(users)]
                group.create_task(self._ask(number % len(self.gateways), user, stop))
            try:
                yield self
            finally:
                stop.set()

    async def _ask(self, gateway: int, user: str, stop: asyncio.Event) -> None:
        url = f"{self.gateways[gateway]}/v1/chat/completions"
        requests = [_request(url, self.key, user, question) for question in _QUESTIONS]
        caller, number = Caller(), 0
        while not stop.is_set():
            number += 1
            try:
                exchange = await caller.ask(url, requests[number % len(requests)])
            except OSError:
                exchange = None
            if exchange is None or exchange.status != 200:
                self.errors += 1
                await asyncio.sleep(0.05)
                continue
            reply = msgspec.json.decode(exchange.body, type=Reply)
            self.told.append(Told(gateway, admitted_at(reply.id), reply.promptyard["version"]))
            await asyncio.sleep(_PACE)
        caller.close()


def canary_users() -> list[str]:
    """Users who see the canary of ``NEW`` from the first step on."""
    named = (f"user-{number}" for number in range(10_000))
    found = (user for user in named if bucket(SALT, f"{PROMPT}@{NEW}", user) < WEIGHT * BASIS // 100)
    return [next(found) for _ in range(_USERS)]


def admitted_at(call_id: str) -> float:
    """The time in a call's id: the first 48 of its 128 bits are milliseconds."""
    number = 0
    for digit in call_id.removeprefix("call_"):
        number = number * 32 + _DIGITS.index(digit)
    return (number >> 80) / 1000


def _request(url: str, key: str, user: str, question: str) -> bytes:
    body = {"model": f"prompt:{PROMPT}", "messages": [], "user": user, "variables": {"question": question}}
    return post_request(url, {"authorization": f"Bearer {key}"}, json.dumps(body).encode())
