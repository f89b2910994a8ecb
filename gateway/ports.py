"""What the request path needs of others. ``compose.py`` says what stands behind each port."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from gateway.cache.coalesce import Seat, Work
from gateway.errors import PromptyardError
from gateway.trail import Look, Trail
from gateway.types import (
    Answer,
    CachePolicy,
    Call,
    Candidate,
    Completion,
    Cost,
    Delta,
    Layer,
    Message,
    Passage,
    Reply,
    Usage,
)

Price = Callable[[str, str, Usage, float], Cost]
"""What a provider charges: provider, model, usage, time of the call."""


class Found(Protocol):
    """What a look into the answer cache says."""

    @property
    def reply(self) -> Reply | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def epoch(self) -> str: ...
    @property
    def cuts(self) -> str: ...
    @property
    def expires_at(self) -> float: ...
    @property
    def candidate(self) -> Candidate | None: ...
    @property
    def layer(self) -> Layer:
        """Who says so."""
        ...

    @property
    def local(self) -> str:
        """Why the process's own memory did not answer, if it was asked and somebody else was after it."""
        ...


class AnswerCache(Protocol):
    """Never raises: trouble is a miss. ``epoch`` is awaited while the entry is on its way."""

    async def find(self, call: Call, epoch: Awaitable[str] | None = None) -> Found: ...
    async def keep(self, call: Call, reply: Reply, kept_on: Candidate | None = None) -> str: ...
    async def last_good(self, call: Call) -> Candidate | None:
        """The kept answer, past its TTL or not, if the prompt's policy lets it stand in for providers that are down."""
        ...

    def key(self, call: Call) -> str: ...


class Epochs(Protocol):
    """The version of a whole collection; empty while unknown. Never raises."""

    async def current(self, tenant: str, collection: str) -> str: ...


class Coalescer(Protocol):
    """Identical calls in flight make one."""

    def board(self, key: str, work: Work, trail: Trail) -> Seat:
        """A place in the flight under ``key``; the first one begins it."""
        ...

    def __contains__(self, key: str) -> bool:
        """Whether there is a flight under ``key`` to board."""
        ...

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        ...

    def __len__(self) -> int:
        """Flights under way."""
        ...


class Retrieved(Protocol):
    """Passages, best first; not ``fresh`` when they may be older than the epoch."""

    @property
    def passages(self) -> tuple[Passage, ...]: ...
    @property
    def fresh(self) -> bool: ...
    @property
    def looks(self) -> tuple[Look, ...]:
        """Into the layers of the cache that were asked for them."""
        ...


class Retriever(Protocol):
    """Raises StorageUnavailable when neither SQL nor an index can answer."""

    async def find(
        self, tenant: str, collection: str, epoch: str, query: str, top_k: int, policy: CachePolicy
    ) -> Retrieved:
        """``policy`` says what may be kept on the way."""
        ...


class SemanticLayer(Protocol):
    """Answers to other questions that mean the same. Never raises: trouble is a miss."""

    async def find(
        self, call: Call, trail: Trail, still_true: Callable[[Call, Candidate], Awaitable[Reply | None]]
    ) -> Reply | None:
        """The answer that may be served for this routed call. Tells ``trail.notes["semantic"]`` what it saw.

        ``still_true`` gives the kept answer of a call from before a change of documents, if it is still true.
        """
        ...

    async def learn(
        self, call: Call, reply: Reply, trail: Trail, still_true: Callable[[Call, Candidate], Awaitable[Reply | None]]
    ) -> None:
        """A fresh answer of this grounded call is in the exact layer: it can be found for similar questions."""
        ...


class Provider(Protocol):
    """Raises ProviderError."""

    async def complete(self, request: Completion) -> Reply: ...
    def stream(self, request: Completion) -> AsyncGenerator[Delta, None]: ...


class Limits(Protocol):
    """Requests, tokens and money. All of it is checked before it is spent."""

    def admit(self, call: Call) -> Awaitable[None]:
        """Under way when it returns. Awaiting raises RateLimited."""
        ...

    async def reserve(self, call: Call) -> Any:
        """Tokens and money of one upstream call. Raises RateLimited, BudgetExhausted."""
        ...

    async def settle(self, reservation: Any, usage: Usage, usd: Decimal | None) -> None: ...

    async def release(self, reservation: Any) -> None:
        """The call reached no provider, or nobody knows what it cost."""
        ...


class ToolRound(Protocol):
    """What came of one message that calls tools."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The message as it was understood, then the tools' results."""
        ...

    @property
    def sound(self) -> bool:
        """Whether every tool gave a result."""
        ...

    @property
    def searched(self) -> bool:
        """Whether documents of the call's collection decided a result, if only by not being there."""
        ...

    @property
    def documents(self) -> tuple[str, ...]:
        """Provenance of the results, as ``Reply.documents``."""
        ...


class Toolbox(Protocol):
    """Registered tools, by name."""

    def definitions(self, names: Sequence[str]) -> list[Mapping[str, Any]]:
        """In OpenAI's shape. Raises UnknownTool."""
        ...

    def owns(self, names: Sequence[str], message: Message) -> bool:
        """Whether the message calls tools, all of them among ``names``."""
        ...

    def repeatable(self, names: Sequence[str], message: Message) -> bool:
        """Whether the tools that it calls give the same results again, so that an answer may be kept."""
        ...

    def shareable(self, names: Sequence[str]) -> bool:
        """Whether identical calls in flight may share what these tools do."""
        ...

    async def run(self, call: Call, message: Message) -> ToolRound:
        """Execute them; a tool that fails says so to the model. Bounded in time and size."""
        ...


class Recorder(Protocol):
    """Hands a call to the ledger durably before its answer leaves. Never raises."""

    def answered(self, answer: Answer, trail: Trail) -> None: ...
    def failed(self, trail: Trail, error: PromptyardError, latency_ms: float) -> None: ...
    def refused(self, call: Call, error: PromptyardError) -> None:
        """Beyond a limit: counted, and not in the ledger, which refusals must not fill."""
        ...
