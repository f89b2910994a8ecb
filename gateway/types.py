"""The vocabulary of the online path. Everything here is frozen: a change makes a new value.

Times are seconds since the epoch, durations are milliseconds where the name ends in ``_ms`` and seconds elsewhere,
money is US dollars as ``Decimal`` (``None`` where the price is unknown, which is never 0).
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Any

from msgspec import Struct, field

Message = Mapping[str, Any]
"""A chat message in OpenAI's shape: ``{"role": ..., "content": ...}`` and whatever else the caller sent."""

STABLE = "stable"
_NOTHING = Decimal(0)
CANARY = "canary"


class Origin(StrEnum):
    """Who asked. Only *live* calls are evidence, drift material, query frequencies and samples."""

    LIVE = "live"
    GATE = "gate"
    JUDGE = "judge"
    WARM = "warm"
    MIRROR = "mirror"
    """A live call that a candidate was asked too, in the background."""
    PROBE = "probe"
    JOB = "job"
    """An item of a bulk job."""
    REFRESH = "refresh"
    """A kept answer that only aged is made anew in the background, after somebody was served the old one."""


class CacheMode(StrEnum):
    """What a caller asks of the answer cache."""

    DEFAULT = "default"
    BYPASS = "bypass"  # neither read nor write
    REFRESH = "refresh"  # do not read, do write


class Layer(StrEnum):
    """Where an answer came from."""

    LOCAL = "local"
    """The process's own memory, in front of the exact layer or in its place."""
    EXACT = "exact"
    SEMANTIC = "semantic"
    """The answer to another question that means the same."""
    COALESCED = "coalesced"
    STALE = "stale"
    """The last good answer, past its TTL and within its provenance, because every provider is down."""
    NONE = "none"


class ModelRef(Struct, frozen=True, order=True):
    """One link of a chain: ``openai/gpt-4.1-mini``."""

    provider: str
    model: str

    @classmethod
    def parse(cls, text: str) -> "ModelRef":
        """Raises ``ValueError`` unless the text is ``provider/model``."""
        provider, slash, model = text.partition("/")
        if not (provider and slash and model):
            raise ValueError(f"{text!r} is not 'provider/model', such as 'openai/gpt-4.1-mini'")
        return cls(provider, model)

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class Usage(Struct, frozen=True):
    """Tokens. ``input_tokens`` include those read from and those written to the provider's prompt cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """Those of ``cache_write_tokens`` that are kept for an hour, which costs more."""
    complete: bool = True
    """False where the provider broke off before it had reported all: the price is unknown then."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            self.complete and other.complete,
        )


class Cost(Struct, frozen=True):
    """What a call cost, and by which prices. ``usd`` is None when the model's price is unknown."""

    usd: Decimal | None = None
    input_per_mtok: Decimal | None = None
    output_per_mtok: Decimal | None = None
    data_version: str = ""


class Attempt(Struct, frozen=True):
    """One try of one link. ``error`` is an error code, empty when it answered."""

    provider: str
    model: str
    latency_ms: float
    error: str = ""


class Variable(Struct, frozen=True):
    """A declared variable of a template."""

    name: str
    description: str = ""
    required: bool = True
    default: str = ""
    max_chars: int = 20_000


class RetrievalPolicy(Struct, frozen=True):
    """What grounds the answer: ``top_k`` chunks of ``collection`` for ``query``, put into variable ``into``."""

    collection: str
    query: str
    top_k: int = 4
    into: str = "context"


class LayerPolicy(Struct, frozen=True):
    """The switch of one layer of the cache; ``ttl`` in seconds."""

    on: bool = True
    ttl: float = 86_400.0


class SemanticMode(StrEnum):
    """``shadow``: it looks and does not serve, and a judge compares. ``on``: it serves where it has earned it."""

    OFF = "off"
    SHADOW = "shadow"
    ON = "on"


class SemanticPolicy(Struct, frozen=True):
    """When the answer to a similar question may be served. Shares are of 1, ``ttl`` in seconds."""

    mode: SemanticMode = SemanticMode.SHADOW
    ttl: float = 86_400.0
    max_wrong: float = 0.03
    """The most wrong answers per served hit that the bound may allow."""
    precision: float = 0.98
    """What the threshold is fitted for, on judged pairs."""
    variable: str = ""
    """The variable that is compared; all others must be equal. Empty: the only one, or the retrieval query's."""
    multi_turn: bool = False
    """Whether questions with a history are compared at all; the history must be equal."""
    judged_share: float = 0.2
    """Of the candidates in shadow, and in the grey zone around the threshold, that a judge compares."""
    sampled_share: float = 0.05
    """Of the served hits that are answered anew and compared, for as long as the layer serves."""


class CachePlace(StrEnum):
    """Where answers are kept: in Redis for all workers, or in each process alone."""

    SHARED = "shared"
    PROCESS = "process"


class CachePolicy(Struct, frozen=True):
    """``ttl`` in seconds. ``warm_top``: how many of the most frequent questions are answered ahead of a change."""

    exact: bool = True
    ttl: float = 86_400.0
    jitter: float = 0.1
    above_zero: bool = False
    """Whether answers above temperature 0 may be kept."""
    warm_top: int = 50
    stale_for: float = 0.0
    """Seconds past its TTL for which an answer may still be served, marked stale, while every provider is down."""
    refresh_within: float = 0.0
    """Seconds past its TTL in which an answer that only aged is served while it is made anew in the background."""
    early_refresh: float = 1.0
    """How early an answer near its end is made anew by chance (beta of XFetch); 0 is never."""
    tags: tuple[str, ...] = ()
    """Names under which answers can be removed together."""
    place: CachePlace = CachePlace.SHARED
    local: LayerPolicy = field(default_factory=lambda: LayerPolicy(on=False, ttl=10.0))
    """Each worker's own memory in front of Redis."""
    embedding: LayerPolicy = field(default_factory=LayerPolicy)
    """Vectors of queries."""
    context: LayerPolicy = field(default_factory=LayerPolicy)
    """Retrieved passages."""
    semantic: SemanticPolicy = field(default_factory=SemanticPolicy)


class PromptVersion(Struct, frozen=True, kw_only=True):
    """What the gateway needs of an immutable version of a managed prompt."""

    tenant: str
    name: str
    version: str
    digest: str
    """SHA-256 (hex) of the canonical content: same digest, same behaviour."""
    template: tuple[Message, ...]
    variables: tuple[Variable, ...] = ()
    chain: tuple[ModelRef, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters in OpenAI's names: temperature, max_tokens, response_format ..."""
    retrieval: RetrievalPolicy | None = None
    cache: CachePolicy = field(default_factory=CachePolicy)
    total_timeout: float = 30.0
    personal: bool = False
    daily_budget_usd: float | None = None
    tools: tuple[str, ...] = ()
    """Registered tools that the gateway itself executes when the model asks for them."""

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"


class Arm(Struct, frozen=True):
    """A share of users on one version. ``weight`` is in basis points (0–10,000) of the users."""

    name: str
    version: PromptVersion
    weight: int


class Mirror(Struct, frozen=True, kw_only=True):
    """A candidate that live calls are also sent to, in the background: nobody sees, waits for or pays for its answers.

    ``share`` is in basis points of the calls of named users that are answered anew. The version's
    ``daily_budget_usd`` is the mirror's own, which has nothing to do with the prompt's.
    """

    version: PromptVersion
    share: int
    release: str
    salt: str = ""


class Route(Struct, frozen=True, kw_only=True):
    """Which versions of one prompt serve which share of users.

    ``arms[0]`` is the stable arm and takes what the others leave. ``evidence_share`` (basis points of the users of each
    arm) bypass answer cache and coalescing while a release is open, so that its evidence does not starve.
    """

    tenant: str
    prompt: str
    arms: tuple[Arm, ...]
    release: str = ""
    salt: str = ""
    evidence_share: int = 0
    experiment: str = ""
    """Id of the open experiment; none beside a release. Who gets which arm then: ``gateway/prompts/splits.py``."""
    policy: str = ""
    """The experiment's: ab, bandit, contextual."""
    context_keys: tuple[str, ...] = ()
    """What of a caller's context says the segment, in this order."""
    segments: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Weights in the order of the arms, by segment; one that is not listed has the arms' own."""
    fall_back: bool = False
    """Whether the baseline answers where the provider chain of the drawn arm has failed."""
    epoch: int = 0
    """Of the weights: users of a bandit are drawn anew with each."""
    mirror: Mirror | None = None
    """Of a release whose candidate no user sees yet."""

    @property
    def stable(self) -> PromptVersion:
        return self.arms[0].version


class RoutingTable(Struct, frozen=True):
    """All routes, swapped whole. ``revision`` only grows."""

    revision: int = 0
    routes: tuple[Route, ...] = ()
    published_at: float = 0.0


class KeyLimits(Struct, frozen=True):
    """What one API key may use; None is without limit. A day is one of UTC."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    daily_budget_usd: float | None = None


NO_LIMITS = KeyLimits()


class Principal(Struct, frozen=True):
    """Who is behind an API key."""

    tenant: str
    key_id: str
    scopes: frozenset[str] = frozenset()
    limits: KeyLimits = NO_LIMITS


class Passage(Struct, frozen=True):
    """A retrieved chunk: document id and version, title, text, cosine score."""

    document: str
    version: int
    title: str
    text: str
    score: float


class Call(Struct, frozen=True, kw_only=True):
    """A request on its way through the pipeline; each stage returns a fuller copy."""

    id: str
    tenant: str
    received_at: float
    key_id: str = ""
    limits: KeyLimits = NO_LIMITS
    """Of the key."""
    origin: Origin = Origin.LIVE
    mirrors: str = ""
    """Id of the live call that a candidate is asked here too."""
    # what was asked
    prompt: str = ""
    """Name of a managed prompt; empty for a raw call."""
    pinned: str = ""
    """A version asked for by name (``prompt:help-centre@1.1.0``); skips routing and is never evidence."""
    variables: Mapping[str, str] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    """What follows the template; all there is for a raw call."""
    history: tuple[Message, ...] = ()
    """Earlier turns of a conversation whose last question is a variable: they stand before the template's question."""
    model: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Every other field of the body, known or not: all of it is part of the cache key."""
    user: str = ""
    traits: Mapping[str, str] = field(default_factory=dict)
    """What the caller says about who asks (``metadata``, ``context``); experiments route by the keys they declare."""
    stream: bool = False
    cache: CacheMode = CacheMode.DEFAULT
    personal: bool = False
    """The caller says that question and answer are one person's: in no cache, and no candidate is asked too."""
    repeat: int = 0
    """Part of the key: an evaluation's repeats are real, and re-running it is free."""
    tools: tuple[str, ...] = ()
    """Registered tools that a raw call asks the gateway to execute; a managed prompt names its own."""
    kind: str = "chat"
    """chat or embedding."""
    # what routing decided
    version: PromptVersion | None = None
    arm: str = ""
    release: str = ""
    weight: int = 0
    evidence: bool = False
    experiment: str = ""
    segment: str = ""
    """What the declared keys of an experiment say of the caller: for the ledger, and no part of any key."""
    propensity: float | None = None
    """Probability with which the experiment drew this arm; None where nobody drew."""
    baseline: PromptVersion | None = None
    """What answers in place of ``version`` if that one's provider chain fails."""
    fell_back_from: str = ""
    """The version that was drawn and failed; ``version`` is the baseline then."""
    # what grounding added
    chain: tuple[ModelRef, ...] = ()
    rendered: tuple[Message, ...] = ()
    query: str = ""
    passages: tuple[Passage, ...] = ()
    context: str = ""
    """The passages as the model sees them."""
    collection: str = ""
    epoch: str = ""
    """The collection's epoch when the call began; empty while unknown: then the cache neither answers nor keeps."""
    cuts: str = ""
    """The token of removals by name (``gateway/cache/cuts.py``) when the call began; empty while unknown."""

    @property
    def grounding(self) -> str:
        """SHA-256 (hex) of the context: equal grounding, equal prompt."""
        return sha256(self.context.encode("utf-8", "surrogatepass")).hexdigest()


class Reply(Struct, frozen=True, kw_only=True):
    """A complete answer of a provider."""

    message: Message
    """The assistant's message in OpenAI's shape."""
    finish_reason: str
    provider: str
    model: str
    usage: Usage
    attempts: tuple[Attempt, ...] = ()
    documents: tuple[str, ...] = ()
    """Provenance: ``doc:<collection>/<id>@<version>``."""

    @property
    def text(self) -> str:
        content = self.message.get("content")
        return content if isinstance(content, str) else ""

    @property
    def fell_back(self) -> bool:
        return bool(self.attempts) and any(
            one.provider != self.provider or one.model != self.model for one in self.attempts
        )


class Completion(Struct, frozen=True, kw_only=True):
    """What a provider is asked: a chain reads ``chain``, a single provider reads ``ref``. Times are seconds."""

    call_id: str
    messages: tuple[Message, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters in OpenAI's names, without model, messages and stream."""
    chain: tuple[ModelRef, ...] = ()
    ref: ModelRef = ModelRef("", "")
    total_timeout: float = 30.0
    first_token_timeout: float = 10.0
    background: bool = False
    """Waits its turn, boundedly, where a limit is used up; others are refused at once."""
    unheard: bool = False
    """A mirrored call: it is not tried again, and says nothing to breakers that users' calls go by."""
    patient: bool = False
    """Nobody else is left to ask: rather than be refused, waits a moment for the probe that finds out about ``ref``."""
    on_attempt: Callable[[ModelRef], None] | None = None
    """Is told of each link when a request is about to be sent to it: from then on it may cost something."""


class Delta(Struct, frozen=True, kw_only=True):
    """A piece of a streamed answer, in OpenAI's ``choices[0].delta`` shape; the last one carries ``reply``."""

    delta: Mapping[str, Any] = field(default_factory=dict)
    reply: Reply | None = None


class Candidate(Struct, frozen=True, kw_only=True):
    """A kept answer from before some document of its collection changed: true if its grounding is still the same."""

    reply: Reply
    grounding: str
    """SHA-256 (hex) of the passages as the model saw them."""
    expires_at: float
    epoch: str = ""
    """The collection's, when it was kept."""
    aged_until: float = 0.0
    made_in: float = 0.0
    """As the entry's: see ``gateway/cache/entry.py``."""


class SemanticPair(Struct, frozen=True, kw_only=True):
    """A question and a similar one whose answer is kept, for a judge: does the kept answer answer the question too?"""

    id: str
    """Of the call that was answered anew."""
    tenant: str
    prompt: str
    version: str
    recipe: str
    """Embedder, variable and guards that found it."""
    asked: str
    kept: str
    """The kept question."""
    similarity: float
    """What thresholds are compared with: see ``gateway/cache/semantic/score.py``."""
    """What a threshold is compared with: the cosine, less what its neighbours' answers say against it."""
    veto: str = ""
    """The guard that spoke against it."""
    probability: float = 1.0
    """With which it was picked."""
    served: bool = False
    """Whether the kept answer was served to the one who asked."""
    fresh_answer: str = ""
    kept_answer: str
    at: float = 0.0


class Answer(Struct, frozen=True, kw_only=True):
    """What leaves the pipeline."""

    call: Call
    reply: Reply
    layer: Layer
    cost: Cost
    """What a provider charges for this reply, whoever served it."""
    in_vain: Cost | None = None
    """What was spent on providers that failed before a cache had an answer after all."""
    latency_ms: float
    first_token_ms: float | None = None
    """Streams only."""
    cache_reason: str = ""
    """Why the cache did not answer (``miss``, ``bypass``, ``evidence``, ``epoch``, ``unavailable`` ...)."""
    layers: Mapping[str, str] = {}
    """What each layer of the cache said that was asked: ``hit``, or why it did not answer."""
    conversation: Mapping[str, Any] | None = None
    """What the endpoint tells of a conversation that the gateway holds."""

    @property
    def paid_usd(self) -> Decimal | None:
        """What this answer cost: nothing when no provider was asked for it, None where the price is unknown."""
        if self.layer is Layer.NONE:
            return self.cost.usd
        return _NOTHING if self.in_vain is None else self.in_vain.usd

    @property
    def saved_usd(self) -> Decimal | None:
        """What the provider would have charged, had nobody asked before."""
        return _NOTHING if self.layer is Layer.NONE else self.cost.usd
