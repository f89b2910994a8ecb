"""Callers who keep asking, and writers who keep changing documents, until they are told to stop."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp

from tests.chaos.outcomes import Kind, Outcome, of_body, of_stream
from tests.chaos.questions import CODES, TOPICS, Question, Tenant, document

PATIENCE = 30.0
"""Seconds after which a caller gives up: nothing may take so long."""
_STREAMED = 0.3


class SteadyLoad:
    """``outcomes`` in the order in which calls end; ``acknowledged_at`` is the time of the last accepted write."""

    def __init__(self, url: str, tenants: Sequence[Tenant], *, callers: int, pause: float, seed: int) -> None:
        """``pause``: seconds a caller waits between calls, on average."""
        self._url = url
        self._tenants = tenants
        self._callers = callers
        self._pause = pause
        self._draw = random.Random(seed)
        self._stopping = asyncio.Event()
        self.outcomes: list[Outcome] = []
        self.acknowledged_at = 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The first documents are there when it begins; every call has ended when it ends."""
        connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=2
        )  # less than the server's: it must not close first
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            for tenant in self._tenants:
                for topic in TOPICS:
                    assert await self._write(http, tenant, topic), "the first documents were not accepted"
            async with asyncio.TaskGroup() as group:
                for number in range(self._callers):
                    group.create_task(self._call(http, self._tenants[number % len(self._tenants)]))
                for tenant in self._tenants:
                    group.create_task(self._change(http, tenant))
                try:
                    yield
                finally:
                    self._stopping.set()

    async def _call(self, http: aiohttp.ClientSession, tenant: Tenant) -> None:
        while not await self._stopped(self._draw.expovariate(1 / self._pause)):
            self.outcomes.append(await self._ask(http, tenant, tenant.ask(), self._draw.random() < _STREAMED))

    async def _change(self, http: aiohttp.ClientSession, tenant: Tenant) -> None:
        number = 0
        while not await self._stopped(10 * self._pause):
            number += 1
            await self._write(http, tenant, TOPICS[number % len(TOPICS)])

    async def _ask(self, http: aiohttp.ClientSession, tenant: Tenant, question: Question, stream: bool) -> Outcome:
        body = {"model": f"prompt:{question.prompt}", "variables": question.variables, "stream": stream}
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with http.post(
                f"{self._url}/v1/chat/completions", json=body, headers=_authorization(tenant)
            ) as response:
                told: dict[str, Any] = (
                    await _read_stream(response)
                    if stream and response.status == 200
                    else of_body(response.status, await response.read())
                )
        except TimeoutError:
            told = {"kind": Kind.UNEXPLAINED, "detail": f"no answer within {PATIENCE:g} s"}
        except aiohttp.ClientError as error:
            told = {"kind": Kind.BROKEN, "detail": type(error).__name__}
        return Outcome(question=question, begun=begun, ended=loop.time(), streamed=stream, **told)

    async def _write(self, http: aiohttp.ClientSession, tenant: Tenant, name: str) -> bool:
        """Whether the next version of a document was acknowledged; if it was not, it may be there or not."""
        topic = tenant.topics[name]
        topic.sent += 1
        version = topic.sent
        try:
            async with http.put(
                f"{self._url}/v1/documents/{CODES}/{name}",
                json=document(tenant.name, name, version),
                headers=_authorization(tenant),
            ) as response:
                if response.status != 200:
                    return False
        except (aiohttp.ClientError, TimeoutError):
            return False
        topic.acknowledged = version
        self.acknowledged_at = asyncio.get_running_loop().time()
        return True

    async def _stopped(self, within: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._stopping.wait()
        return self._stopping.is_set()


async def _read_stream(response: aiohttp.ClientResponse) -> dict[str, Any]:
    events = [
        line.removeprefix(b"data: ").strip().decode() async for line in response.content if line.startswith(b"data: ")
    ]
    return of_stream(events, response.headers["x-promptyard-call-id"])


def _authorization(tenant: Tenant) -> dict[str, str]:
    return {"authorization": f"Bearer {tenant.key}"}
