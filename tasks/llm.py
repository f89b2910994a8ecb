"""LLM calls for flows: Prefect tasks around the same cached, priced, recorded fallback call that the gateway makes.

A task takes a list of calls, not one: the run page stays readable, and the calls share one event loop and one set of
connections per process.
"""

import asyncio
import atexit
import hashlib
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from gateway.clock import new_id
from gateway.compose import Gateway, compose
from gateway.errors import PromptyardError
from gateway.settings import Settings
from gateway.types import Answer, CacheMode, Call, Message, Origin, PromptVersion
from tasks.evaluators.judge import Judgement, judge_messages, read_judgement
from tasks.step import step

T = TypeVar("T")
IN_FLIGHT = 32


@dataclass(frozen=True)
class LlmCall:
    """A call of a flow: a managed version with variables, or a raw model with messages."""

    tenant: str
    origin: Origin
    version: PromptVersion | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    messages: tuple[Message, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    cache: CacheMode = CacheMode.DEFAULT
    repeat: int = 0


@dataclass(frozen=True)
class LlmResult:
    """An answer, or the code and message of the error."""

    answer: Answer | None
    error: str = ""
    message: str = ""

    @property
    def text(self) -> str:
        return self.answer.reply.text if self.answer else ""


@dataclass(frozen=True)
class Verdict:
    """What to judge: with a reference against it, otherwise against the documents."""

    question: str
    answer: str
    reference: str = ""
    documents: str = ""
    repeat: int = 0


class LlmClient:
    """The online path in a thread of its own, for code that is not async. One per process: see ``client``."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-calls", daemon=True)
        self._thread.start()
        self.gateway: Gateway = self.run(self._compose(settings))

    @staticmethod
    async def _compose(settings: Settings) -> Gateway:
        return compose(settings, role="flows")

    def run(self, work: Coroutine[Any, Any, T], patience: float = 3600.0) -> T:
        """The result of a coroutine that runs beside the connections."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(patience)

    def complete(self, calls: Sequence[LlmCall], in_flight: int = IN_FLIGHT) -> list[LlmResult]:
        """The results in order; one that fails does not keep the others from being answered."""
        return self.run(self._complete_all(calls, in_flight))

    async def _complete_all(self, calls: Sequence[LlmCall], in_flight: int) -> list[LlmResult]:
        places = asyncio.Semaphore(in_flight)

        async def one(call: LlmCall) -> LlmResult:
            async with places:
                return await self._complete(call)

        return list(await asyncio.gather(*(one(call) for call in calls)))

    async def _complete(self, call: LlmCall) -> LlmResult:
        gateway = self.gateway
        try:
            answer = await gateway.pipeline.answer(
                Call(
                    id=new_id("call", gateway.clock),
                    tenant=call.tenant,
                    received_at=gateway.clock.now(),
                    origin=call.origin,
                    prompt=call.version.name if call.version else "",
                    version=call.version,
                    variables=call.variables,
                    messages=call.messages,
                    model=call.model,
                    params=call.params,
                    cache=call.cache,
                    repeat=call.repeat,
                )
            )
        except PromptyardError as error:
            return LlmResult(None, error.code, error.message)
        return LlmResult(answer)

    @property
    def closed(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._loop.is_running():
            self.run(self.gateway.close(), patience=10.0)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5.0)


_clients: dict[str, LlmClient] = {}
_guard = threading.Lock()


def client(settings: Settings) -> LlmClient:
    """The process's client for these settings, made at the first call and closed at exit."""
    reached = settings.model_dump(mode="json", exclude={"tenant", "mlflow_tracking_uri", "alert_webhook_url"})
    keys = (settings.openai_api_key.get_secret_value(), settings.anthropic_api_key.get_secret_value())
    name = hashlib.sha256(repr((reached, keys)).encode()).hexdigest()
    with _guard:
        known = _clients.get(name)
        if known is None or known.closed:
            known = _clients[name] = LlmClient(settings)
            atexit.register(known.close)
        return known


@step("complete")
def complete(settings: Settings, calls: Sequence[LlmCall]) -> list[LlmResult]:
    """Answer the calls through cache, fallback chain, prices and ledger."""
    return client(settings).complete(calls)


@step("embed")
def embed(settings: Settings, texts: Sequence[str]) -> np.ndarray:
    """Unit vectors, float32, shape (texts, dimensions)."""
    known = client(settings)
    return known.run(known.gateway.embedder.embed(texts))


@step("judge")
def judge(
    settings: Settings, tenant: str, model: str, criteria: Sequence[str], verdicts: Sequence[Verdict]
) -> list[Judgement]:
    """Judge answers. A judge that cannot be reached or read gives a Judgement without a score, never a zero."""
    # The wording is in the cache key with the messages: a new judge judges anew. The repeat index makes repeats real.
    calls = [
        LlmCall(
            tenant=tenant,
            origin=Origin.JUDGE,
            model=model,
            messages=judge_messages(
                question=one.question,
                answer=one.answer,
                criteria=criteria,
                reference=one.reference,
                documents=one.documents,
            ),
            params={"temperature": 0},
            repeat=one.repeat,
        )
        for one in verdicts
    ]
    results = client(settings).complete(calls)
    return [
        read_judgement(result.text, criteria) if result.answer else Judgement(None, {}, result.message)
        for result in results
    ]
