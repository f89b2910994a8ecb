"""Readers as fast as they can, writers at random, and servers that die meanwhile; every answer is held to the truth."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from gateway.types import PromptVersion, RetrievalPolicy, Variable
from tests.bench.connection import Connection, Exchange, post_request
from tests.freshness.truth import SUBJECTS, Subject, origin_of
from tests.gateway_stack import prompt_version

PROMPT = "codes"
TENANT = "acme"
_TAKES = 2
_RETRY_SECONDS = 0.05
_WRITE_PATIENCE = 20.0


def prompt() -> PromptVersion:
    """Its template ends in what was retrieved: an upstream that repeats the last message says what it was given."""
    return prompt_version(
        TENANT,
        PROMPT,
        template=({"role": "user", "content": "{{context}}\n\n{{question}}"},),
        variables=(Variable("question", max_chars=200),),
        retrieval=RetrievalPolicy(collection=PROMPT, query="{{question}}", top_k=1),
    )


@dataclass
class Trouble:
    """``happens`` after that share of the time; it may block."""

    at: float
    name: str
    happens: Callable[[], None]


@dataclass
class Report:
    """``stale``: answers older than what was acknowledged, or wrong; ``writes_ms``: of those that were acknowledged."""

    reads: int = 0
    layers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    stale: list[str] = field(default_factory=list)
    writes: int = 0
    better: int = 0
    """Writes after which a document that was not there before answers."""
    refused_writes: int = 0
    writes_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0


class Trial:
    """``url`` is a gateway with ``prompt()`` in production and no documents yet; ``seed`` draws what is written."""

    def __init__(
        self, url: str, key: str, *, subjects: int = len(SUBJECTS), readers: int = 24, pause: float = 1.0, seed: int = 1
    ) -> None:
        """``pause``: seconds between two writes of a writer; there are two writers."""
        self._url = url
        self._key = key
        self._readers = readers
        self._pause = pause
        self._draw = random.Random(seed)
        self._subjects = [Subject(name) for name in SUBJECTS[:subjects]]
        self._free = list(self._subjects)
        self._requests = [(s, self._request(s, take)) for s in self._subjects for take in range(_TAKES)]
        self._asked: dict[Connection, tuple[Subject, int]] = {}
        self._deadline = 0.0
        self._running: set[Connection] = set()
        self._all_over = asyncio.Event()
        self.report = Report()

    async def run(self, seconds: float, troubles: Sequence[Trouble] = ()) -> Report:
        """Raises AssertionError when the first documents are not accepted."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
            for subject in self._subjects:
                await self._change(http, subject)
            self.report = Report()
            begun = time.perf_counter()
            self._deadline = begun + seconds
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(self._write(http))
                group.create_task(self._go_through(troubles, begun, seconds))
                group.create_task(self._read())
        self.report.seconds = time.perf_counter() - begun
        return self.report

    def _request(self, subject: Subject, take: int) -> bytes:
        body = {"model": f"prompt:{PROMPT}", "variables": {"question": subject.question(take)}}
        headers = {"authorization": f"Bearer {self._key}"}
        return post_request(f"{self._url}/v1/chat/completions", headers, json.dumps(body).encode())

    async def _read(self) -> None:
        for _ in range(self._readers):
            connection = await Connection.open(self._url, self._over)
            self._running.add(connection)
            self._ask(connection)
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._deadline - time.perf_counter() + 60):
            await self._all_over.wait()

    def _ask(self, connection: Connection) -> None:
        subject, request = self._draw.choice(self._requests)
        self._asked[connection] = subject, subject.acknowledged
        connection.ask(request)

    def _over(self, connection: Connection, exchange: Exchange) -> None:
        subject, acknowledged = self._asked.pop(connection)
        self.report.reads += 1
        if exchange.status == 200:
            self.report.layers[origin_of(exchange.body)] += 1
            if wrong := subject.wrong(acknowledged, exchange.body):
                self.report.stale.append(wrong)
        else:
            self.report.errors[f"{exchange.status} {exchange.body[:80]!r}"] += 1
        if exchange.ended < self._deadline and connection.is_open:
            self._ask(connection)
            return
        connection.close()
        self._running.discard(connection)
        if not self._running:
            self._all_over.set()

    async def _write(self, http: aiohttp.ClientSession) -> None:
        while time.perf_counter() < self._deadline:
            subject = self._free.pop(self._draw.randrange(len(self._free)))
            await self._change(http, subject)
            self._free.append(subject)
            await asyncio.sleep(self._pause * 2 * self._draw.random())

    async def _change(self, http: aiohttp.ClientSession, subject: Subject) -> None:
        """Until it is acknowledged: a refused change may be there or not, and repeating it is always right."""
        was_better = subject.codes and "-b" in subject.codes[-1]
        write = subject.next_write(self._draw)
        address = f"{self._url}/v1/documents/{PROMPT}/{write.document}"
        headers = {"authorization": f"Bearer {self._key}"}
        give_up = time.perf_counter() + _WRITE_PATIENCE
        while True:
            begun = time.perf_counter()
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                method = "DELETE" if write.body is None else "PUT"
                async with http.request(method, address, json=write.body, headers=headers) as response:
                    if response.status in (200, 204) or (write.body is None and response.status == 404):
                        break
            self.report.refused_writes += 1
            assert time.perf_counter() < give_up, f"{write.document} was not accepted within {_WRITE_PATIENCE:g} s"
            await asyncio.sleep(_RETRY_SECONDS)
        subject.acknowledge()
        self.report.writes += 1
        self.report.better += "-b" in write.code and not was_better
        self.report.writes_ms.append((time.perf_counter() - begun) * 1000)

    async def _go_through(self, troubles: Sequence[Trouble], begun: float, seconds: float) -> None:
        for trouble in troubles:
            await asyncio.sleep(begun + trouble.at * seconds - time.perf_counter())
            await asyncio.to_thread(trouble.happens)
