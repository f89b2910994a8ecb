"""LLM calls for flows: Prefect tasks around the same cached, priced, recorded fallback call that the gateway makes.

A task takes a list of calls, not one: the run page stays readable, and the calls share one event loop and one set of
connections per process.
"""

import asyncio
import atexit
import contextlib
import hashlib
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from gateway.clock import new_id
from gateway.compose import Gateway, compose
from gateway.errors import PromptyardError, RateLimited
from gateway.settings import Settings
from gateway.types import Answer, CacheMode, Call, Message, Origin, PromptVersion
from tasks.batching.running import answer_in_batches
from tasks.evaluators.judge import Judgement, judge_messages, read_judgement
from tasks.evaluators.packed_judge import pack_format, pack_messages, packs, read_pack
from tasks.specs.model import BackgroundSpec
from tasks.step import step

T = TypeVar("T")
IN_FLIGHT = 32
PATIENCE = 3600.0
"""Seconds that the calls of a task may take."""
ONE_BY_ONE = BackgroundSpec()


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
        self._places: dict[int, asyncio.Semaphore] = {}
        self.gateway: Gateway = self.run(self._compose(settings))

    @staticmethod
    async def _compose(settings: Settings) -> Gateway:
        return compose(settings, role="flows")

    def run(self, work: Coroutine[Any, Any, T], patience: float = PATIENCE) -> T:
        """The result of a coroutine that runs beside the connections."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(patience)

    def complete(
        self, calls: Sequence[LlmCall], in_flight: int = IN_FLIGHT, background: BackgroundSpec = ONE_BY_ONE
    ) -> list[LlmResult]:
        """The results in order; one that fails does not keep the others from being answered.

        ``in_flight`` bounds the calls of all threads that name the same number.
        """
        if background.batching == "batch_api" and len({call.tenant for call in calls}) == 1:
            return self.run(self._complete_in_batches(calls, in_flight, background), PATIENCE + background.wait)
        return self.run(self._complete_all(calls, in_flight))

    def settle(self, within: float = 5.0) -> None:
        """Wait, for ``within`` seconds at most, until what was answered is kept: its callers have it before."""

        async def wait() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self.gateway.pipeline.settle()

        self.run(wait(), patience=2 * within)

    async def _complete_in_batches(
        self, calls: Sequence[LlmCall], in_flight: int, background: BackgroundSpec
    ) -> list[LlmResult]:
        asked = [self._call(call) for call in calls]
        outcomes = await answer_in_batches(
            self.gateway, self.gateway.retriever, asked, wait=background.wait, in_flight=in_flight
        )
        results = [_result(outcome) for outcome in outcomes]
        # Reserved all at once, calls may be beyond a limit that they are within one after the other.
        late = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, RateLimited)]
        for place, result in zip(late, await self._complete_all([calls[i] for i in late], in_flight), strict=True):
            results[place] = result
        return results

    async def _complete_all(self, calls: Sequence[LlmCall], in_flight: int) -> list[LlmResult]:
        places = self._places.setdefault(in_flight, asyncio.Semaphore(in_flight))

        async def one(call: LlmCall) -> LlmResult:
            async with places:
                return await self._complete(call)

        return list(await asyncio.gather(*(one(call) for call in calls)))

    async def _complete(self, call: LlmCall) -> LlmResult:
        try:
            return _result(await self.gateway.pipeline.answer(self._call(call)))
        except PromptyardError as error:
            return _result(error)

    def _call(self, call: LlmCall) -> Call:
        clock = self.gateway.clock
        return Call(
            id=new_id("call", clock),
            tenant=call.tenant,
            received_at=clock.now(),
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

    @property
    def closed(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._loop.is_running():
            self.run(self.gateway.close(), patience=10.0)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5.0)


def _result(outcome: Answer | PromptyardError) -> LlmResult:
    if isinstance(outcome, PromptyardError):
        return LlmResult(None, outcome.code, outcome.message)
    return LlmResult(outcome)


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
def complete(settings: Settings, calls: Sequence[LlmCall], background: BackgroundSpec = ONE_BY_ONE) -> list[LlmResult]:
    """Answer the calls through cache, fallback chain or batch API, prices and ledger."""
    return client(settings).complete(calls, background=background)


@step("embed")
def embed(settings: Settings, texts: Sequence[str]) -> np.ndarray:
    """Unit vectors, float32, shape (texts, dimensions)."""
    known = client(settings)
    return known.run(known.gateway.embedder.embed(texts))


@step("judge")
def judge(
    settings: Settings,
    tenant: str,
    model: str,
    criteria: Sequence[str],
    verdicts: Sequence[Verdict],
    background: BackgroundSpec = ONE_BY_ONE,
    in_flight: int = IN_FLIGHT,
) -> list[Judgement]:
    """Judge answers. A judge that cannot be reached or read gives a Judgement without a score, never a zero."""
    found = _judge_packed(settings, tenant, model, criteria, verdicts, background)
    rest = [place for place in range(len(verdicts)) if place not in found]
    calls = [
        _judge_call(tenant, model, judge_messages(criteria=criteria, **_shown(verdicts[place])), verdicts[place].repeat)
        for place in rest
    ]
    results = client(settings).complete(calls, in_flight, background)
    for place, result in zip(rest, results, strict=True):
        found[place] = read_judgement(result.text, criteria) if result.answer else Judgement(None, {}, result.message)
    return [found[place] for place in range(len(verdicts))]


def _judge_packed(
    settings: Settings,
    tenant: str,
    model: str,
    criteria: Sequence[str],
    verdicts: Sequence[Verdict],
    background: BackgroundSpec,
) -> dict[int, Judgement]:
    """By place, what came back readable of calls that judge several answers; nothing unless that is asked for."""
    kinds = [(bool(one.reference), one.repeat) for one in verdicts]
    sizes = [sum(map(len, _shown(one).values())) for one in verdicts]
    together = [pack for pack in packs(kinds, sizes, background.pack_size) if len(pack) > 1]
    calls = [
        _judge_call(
            tenant,
            model,
            pack_messages([_shown(verdicts[place]) for place in pack], criteria),
            verdicts[pack[0]].repeat,
            response_format=pack_format(criteria),
        )
        for pack in together
    ]
    found: dict[int, Judgement] = {}
    for pack, result in zip(together, client(settings).complete(calls) if calls else (), strict=True):
        for place, judgement in read_pack(result.text, len(pack), criteria).items():
            found[pack[place]] = judgement
    return found


def _judge_call(tenant: str, model: str, messages: tuple[Message, ...], repeat: int, **params: Any) -> LlmCall:
    # The wording is in the cache key with the messages: a new judge judges anew. The repeat index makes repeats real.
    return LlmCall(
        tenant=tenant,
        origin=Origin.JUDGE,
        model=model,
        messages=messages,
        params={"temperature": 0, **params},
        repeat=repeat,
    )


def _shown(one: Verdict) -> dict[str, str]:
    return {
        "question": one.question,
        "answer": one.answer,
        "reference": one.reference,
        "documents": one.documents,
    }
