"""The request path with fakes at its seams: what is asked of whom, what is kept, what is recorded."""

import asyncio
import gc
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec import structs

from gateway.cache.coalesce import Coalescer
from gateway.cache.flight import Flight
from gateway.cache.flight_messages import PIECES, REPLY, Message
from gateway.cache.keys import answer_key
from gateway.cache.leases import Taken
from gateway.clock import ManualClock
from gateway.dialogue import MAX_TOOL_ROUNDS, Dialogue
from gateway.errors import (
    BudgetExhausted,
    ChainExhausted,
    DocumentsChanging,
    InvalidRequest,
    MissingVariable,
    PromptyardError,
    ProviderOverloaded,
    ProviderRejectedRequest,
    ProviderTimeout,
    RateLimited,
    StreamInterrupted,
    UnknownPrompt,
)
from gateway.pipeline import Pipeline
from gateway.producer import MAX_REMAKES, Producer
from gateway.prompts.router import Router
from gateway.settings import ChainSettings
from gateway.trail import Look, Trail
from gateway.types import (
    CANARY,
    STABLE,
    Answer,
    Arm,
    Attempt,
    CacheMode,
    CachePolicy,
    Call,
    Candidate,
    Completion,
    Cost,
    Delta,
    KeyLimits,
    Layer,
    ModelRef,
    Origin,
    Passage,
    PromptVersion,
    Reply,
    RetrievalPolicy,
    Route,
    RoutingTable,
    Usage,
    Variable,
)

VERSION = PromptVersion(
    tenant="acme",
    name="help",
    version="1.0.0",
    digest="d1",
    template=(
        {"role": "system", "content": "Answer from:\n{{context}}"},
        {"role": "user", "content": "{{question}}"},
    ),
    variables=(Variable("question"),),
    chain=(ModelRef("openai", "small"), ModelRef("anthropic", "other")),
    params={"temperature": 0},
    retrieval=RetrievalPolicy("faq", "{{question}}"),
)
NEXT = structs.replace(VERSION, version="1.1.0", digest="d2")
TABLE = RoutingTable(
    1,
    (
        Route(
            tenant="acme",
            prompt="help",
            arms=(Arm(STABLE, VERSION, 5_000), Arm(CANARY, NEXT, 5_000)),
            release="rel_1",
            salt="s",
            evidence_share=5_000,
        ),
    ),
)


def reply(text: str = "Thirty days.") -> Reply:
    return Reply(
        message={"role": "assistant", "content": text},
        finish_reason="stop",
        provider="openai",
        model="small",
        usage=Usage(100, 10),
    )


def ask(**changes: Any) -> Call:
    values: dict[str, Any] = {
        "id": "call_1",
        "tenant": "acme",
        "received_at": 1_000.0,
        "prompt": "help",
        "variables": {"question": "How long?"},
    }
    return Call(**(values | changes))


@dataclass
class Found:
    reply: Reply | None = None
    reason: str = "miss"
    epoch: str = ""
    cuts: str = ""
    expires_at: float = 0.0
    candidate: Candidate | None = None
    layer: Layer = Layer.EXACT
    local: str = ""


@dataclass(frozen=True)
class Round:
    """What the tools of one message gave."""

    messages: tuple[Mapping[str, Any], ...]
    sound: bool
    searched: bool
    documents: tuple[str, ...]


@dataclass
class World:
    """Documents, their epoch, the cache and the provider, all in memory."""

    text: str = "Returns: 30 days."
    epoch: str = "e1"
    fresh: bool = True
    kept: dict[str, tuple[Reply, str, str, float | None]] = field(default_factory=dict)
    asked: list[Completion] = field(default_factory=list)
    records: list[tuple[str, Any]] = field(default_factory=list)
    replies: list[Reply | Exception] = field(default_factory=list)
    meanwhile: list[tuple[str, str]] = field(default_factory=list)
    """Changes (text, epoch) that happen while the provider answers, one an answer."""
    gate: asyncio.Event | None = None
    pause: asyncio.Event | None = None
    """What a stream waits for after each piece."""
    pause_error: Exception | None = None
    """What it raises then."""
    fail_at_once: bool = False
    rounds: list[Reply] = field(default_factory=list)
    """What a stream says, one round of tools after the other."""
    stands_in: bool = False
    """Whether the policy lets the last good answer stand in for providers that are down."""
    tools_work: bool = True
    refusal: PromptyardError | None = None
    money: list[str] = field(default_factory=list)
    trails: list[Trail] = field(default_factory=list)

    # --- AnswerCache
    def key(self, call: Call) -> str:
        return answer_key(call)

    async def find(self, call: Call, epoch: Awaitable[str] | None = None) -> Found:
        known = await epoch if epoch is not None else ""
        stored = None if call.cache is not CacheMode.DEFAULT or call.evidence else self.kept.get(answer_key(call))
        if stored is None:
            return Found(epoch=known)
        if call.collection and stored[1] != known:
            expires_at = stored[3] if stored[3] is not None else 2_000.0
            candidate = Candidate(reply=stored[0], grounding=stored[2], expires_at=expires_at)
            return Found(reason="epoch", epoch=known, candidate=candidate)
        return Found(stored[0], "hit", known)

    async def keep(self, call: Call, answer: Reply, kept_on: Candidate | None = None) -> str:
        if (
            call.cache is CacheMode.BYPASS
            or call.evidence
            or (call.collection and (not call.epoch or call.epoch != self.epoch))
        ):
            return "no"
        expires_at = kept_on.expires_at if kept_on else None
        self.kept[answer_key(call)] = (answer, call.epoch, call.grounding, expires_at)
        return "kept"

    # --- Epochs, Retriever
    async def current(self, tenant: str, collection: str) -> str:
        return self.epoch

    @property
    def passages(self) -> tuple[Passage, ...]:
        return (Passage("returns", len(self.text), "Returns", self.text, 0.9),)

    # --- Provider
    async def complete(self, request: Completion) -> Reply:
        self.asked.append(request)
        assert request.on_attempt is not None
        request.on_attempt(request.chain[0])
        if self.gate is not None:
            await self.gate.wait()
        if self.meanwhile:
            self.text, self.epoch = self.meanwhile.pop(0)
        outcome = self.replies.pop(0) if self.replies else reply(f"answer {len(self.asked)}")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        self.asked.append(request)
        assert request.on_attempt is not None
        request.on_attempt(request.chain[0])
        if self.meanwhile:
            self.text, self.epoch = self.meanwhile.pop(0)
        if self.rounds:
            said = self.rounds.pop(0)
            yield Delta(delta={name: value for name, value in said.message.items() if value and name != "role"})
            yield Delta(reply=said)
            return
        if self.fail_at_once:
            raise self.replies[0]  # type: ignore[misc]
        for piece in ("Thirty", " days."):
            yield Delta(delta={"content": piece})
            if self.pause is not None:
                await self.pause.wait()
            if self.pause_error is not None:
                raise self.pause_error
        if self.replies and isinstance(self.replies[0], Exception):
            raise self.replies[0]
        yield Delta(reply=reply())

    async def last_good(self, call: Call) -> Candidate | None:
        stored = self.kept.get(answer_key(call))
        if stored is None or not self.stands_in:
            return None
        return Candidate(reply=stored[0], grounding=stored[2], expires_at=0.0, epoch=stored[1])

    # --- Limits
    async def _admitted(self) -> None:
        if self.refusal:
            raise self.refusal

    def admit(self, call: Call) -> Awaitable[None]:
        return self._admitted()

    async def reserve(self, call: Call) -> str:
        self.money.append("reserved")
        return "reservation"

    async def settle(self, reservation: Any, usage: Usage, usd: Decimal | None) -> None:
        self.money.append(f"settled {usage.output_tokens} {usd}")

    async def release(self, reservation: Any) -> None:
        self.money.append("released")

    # --- Toolbox
    def definitions(self, names: Sequence[str]) -> list[Mapping[str, Any]]:
        return [{"type": "function", "function": {"name": name}} for name in names]

    def owns(self, names: Sequence[str], message: Mapping[str, Any]) -> bool:
        calls = message.get("tool_calls") or ()
        return bool(calls) and all(tool["function"]["name"] in names for tool in calls)

    def repeatable(self, names: Sequence[str], message: Mapping[str, Any]) -> bool:
        return all(tool["function"]["name"] != "dice" for tool in message["tool_calls"])

    def shareable(self, names: Sequence[str]) -> bool:
        return "dice" not in names

    async def run(self, call: Call, message: Mapping[str, Any]) -> "Round":
        results = ({"role": "tool", "tool_call_id": tool["id"], "content": "42"} for tool in message["tool_calls"])
        searched = any(tool["function"]["name"] == "search" for tool in message["tool_calls"])
        return Round(
            messages=(message, *results),
            sound=self.tools_work,
            searched=searched,
            documents=(f"doc:faq/found@{len(self.text)}",) if searched else (),
        )

    # --- Recorder
    def answered(self, answer: Answer, trail: Trail) -> None:
        self.records.append(("answered", answer))

    def failed(self, trail: Trail, error: PromptyardError, latency_ms: float) -> None:
        self.records.append(("failed", error.code))
        self.trails.append(trail)

    def refused(self, call: Call, error: PromptyardError) -> None:
        self.records.append(("refused", error.code))


@dataclass
class Library:
    """The retriever's side of a world: passages as they are at that moment."""

    world: World

    async def find(self, tenant: str, collection: str, epoch: str, query: str, top_k: int, policy: CachePolicy) -> Any:
        assert (tenant, collection, query) == ("acme", "faq", "How long?")
        return Retrieved(self.world.passages, self.world.fresh)


@dataclass(frozen=True)
class Retrieved:
    passages: tuple[Passage, ...]
    fresh: bool
    looks: tuple[Look, ...] = (Look("context", "off"), Look("embedding", "hit", 0.001))


def pipeline(
    world: World, table: RoutingTable | None = None, coalescer: Coalescer | None = None, **bounds: float
) -> Pipeline:
    stable = RoutingTable(1, (Route(tenant="acme", prompt="help", arms=(Arm(STABLE, VERSION, 10_000),)),))
    clock = ManualClock()

    def price(provider: str, model: str, usage: Usage, at: float) -> Cost:
        return Cost(Decimal("0.5") if usage.complete else None)

    dialogue = Dialogue(
        providers=world, limits=world, tools=world, price=price, chain=ChainSettings.model_validate(bounds), clock=clock
    )
    producer = Producer(
        cache=world,
        epochs=world,
        retriever=Library(world),
        dialogue=dialogue,
        show_passages=lambda passages: "\n".join(passage.text for passage in passages),
        clock=clock,
    )
    return Pipeline(
        router=Router(table or stable),
        limits=world,
        cache=world,
        epochs=world,
        coalescer=Coalescer() if coalescer is None else coalescer,
        producer=producer,
        recorder=world,
        price=price,
        clock=clock,
    )


async def answered(answering: Pipeline, call: Call) -> Answer:
    """The answer, when all that is done after it is done."""
    answer = await answering.answer(call)
    await answering.settle()
    return answer


async def test_a_table_that_may_be_out_of_date_is_renewed_before_a_call_is_routed() -> None:
    world = World()
    answering = pipeline(world)
    newer = structs.replace(VERSION, version="2.0.0")
    table = RoutingTable(2, (Route(tenant="acme", prompt="help", arms=(Arm(STABLE, newer, 10_000),)),))

    async def renew() -> None:
        answering.router.swap(table)
        answering.router.lease.until = math.inf

    async def whole() -> str:
        return version_of(await answered(answering, ask()))

    async def streamed() -> str:
        return version_of([piece async for piece in answering.stream(ask())][-1])

    def version_of(answer: object) -> str:
        assert isinstance(answer, Answer)
        assert answer.call.version is not None
        return answer.call.version.version

    for answer in (whole, streamed):
        answering.router.lease.until, answering.router.lease.renew = -math.inf, renew
        assert await answer() == "2.0.0"
        assert answering.router.lease.until == math.inf


async def test_a_call_takes_the_time_that_is_configured_or_its_prompts_own() -> None:
    world = World()
    answering = pipeline(world, first_token_timeout=3, total_timeout=7)
    await answered(answering, ask())
    await answered(answering, structs.replace(ask(), prompt="", model="openai/gpt-4.1", messages=({"role": "user"},)))
    assert [(one.first_token_timeout, one.total_timeout) for one in world.asked] == [(3, VERSION.total_timeout), (3, 7)]


async def test_earlier_turns_stand_before_the_question_and_later_messages_after_it() -> None:
    world = World()
    old = ({"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "How can I help?"})
    used = {"role": "tool", "tool_call_id": "1", "content": "42"}
    await answered(pipeline(world), structs.replace(ask(), history=old, messages=(used,)))
    said = [message["content"] for message in world.asked[0].messages]
    assert said == ["Answer from:\nReturns: 30 days.", "Hello!", "How can I help?", "How long?", "42"]


async def test_a_miss_is_grounded_asked_kept_and_recorded_with_provenance() -> None:
    world = World()
    answer = await answered(pipeline(world), ask())
    assert [m["content"] for m in world.asked[0].messages] == ["Answer from:\nReturns: 30 days.", "How long?"]
    assert world.asked[0].chain == VERSION.chain
    assert (answer.layer, answer.paid_usd, answer.saved_usd) == (Layer.NONE, Decimal("0.5"), Decimal(0))
    assert answer.reply.documents == (f"doc:faq/returns@{len(world.text)}",)
    assert [kind for kind, _ in world.records] == ["answered"]


async def test_a_hit_asks_nobody_and_says_what_it_saved() -> None:
    world = World()
    path = pipeline(world)
    first = await answered(path, ask())
    again = await answered(path, ask(id="call_2"))
    assert (len(world.asked), again.layer, again.reply.text) == (1, Layer.EXACT, first.reply.text)
    assert (again.paid_usd, again.saved_usd) == (Decimal(0), Decimal("0.5"))


async def test_a_change_that_grounds_it_differently_makes_the_answer_anew() -> None:
    world = World()
    path = pipeline(world)
    await answered(path, ask())
    world.text, world.epoch = "Returns: 45 days.", "e2"
    again = await answered(path, ask())
    assert (again.layer, len(world.asked)) == (Layer.NONE, 2)
    assert "45 days" in world.asked[1].messages[0]["content"]


async def test_a_change_elsewhere_leaves_the_answer_standing_and_no_younger() -> None:
    world = World()
    path = pipeline(world)
    await answered(path, ask())
    world.epoch = "e2"
    again = await answered(path, ask())
    assert (again.layer, again.cache_reason, len(world.asked)) == (Layer.EXACT, "revalidated", 1)
    assert next(iter(world.kept.values()))[1:] == ("e2", again.call.grounding, 2_000.0)
    assert (await answered(path, ask())).cache_reason == "hit"


async def test_an_answer_in_flight_is_made_again_when_its_documents_change() -> None:
    world = World(meanwhile=[("Returns: 45 days.", "e2")])
    answer = await answered(pipeline(world), ask())
    assert [m.messages[0]["content"] for m in world.asked] == [
        "Answer from:\nReturns: 30 days.",
        "Answer from:\nReturns: 45 days.",
    ]
    assert (answer.reply.text, next(iter(world.kept.values()))[1]) == ("answer 2", "e2")


async def test_an_answer_that_cannot_keep_up_with_its_documents_is_not_served() -> None:
    world = World(meanwhile=[(f"Returns: {n} days.", f"e{n}") for n in range(40, 50)])
    with pytest.raises(DocumentsChanging):
        await answered(pipeline(world), ask())
    assert (len(world.asked), world.kept) == (MAX_REMAKES, {})
    assert world.trails[0].cost().usd == Decimal("0.5") * MAX_REMAKES


@pytest.mark.parametrize("before", ["", "e1"], ids=["begun during a write", "begun before it"])
@pytest.mark.parametrize("after", ["", "e2"], ids=["another write under way", "all acknowledged"])
async def test_an_answer_in_flight_is_checked_whenever_a_write_may_have_been_under_way(before: str, after: str) -> None:
    world = World(epoch=before, meanwhile=[("Returns: 45 days.", after)])
    answer = await answered(pipeline(world), ask())
    assert (answer.reply.text, len(world.asked)) == ("answer 2", 2)
    assert "45 days" in world.asked[1].messages[0]["content"]
    assert bool(world.kept) is bool(after)


async def test_a_stream_is_checked_once_more_before_its_first_byte() -> None:
    world = World(meanwhile=[("Returns: 45 days.", "e2")])
    pieces = [piece async for piece in pipeline(world).stream(ask(stream=True))]
    assert len(world.asked) == 2
    assert "45 days" in world.asked[1].messages[0]["content"]
    assert [piece.delta["content"] for piece in pieces if isinstance(piece, Delta)] == ["Thirty", " days."]
    assert isinstance(pieces[-1], Answer)
    assert pieces[-1].paid_usd is None  # the first stream was begun, and nobody says what it cost


@pytest.mark.parametrize("changes", [{"epoch": ""}, {"fresh": False}], ids=["unknown epoch", "old index"])
async def test_nothing_is_kept_when_freshness_cannot_be_known(changes: dict[str, Any]) -> None:
    world = World(**changes)
    answer = await answered(pipeline(world), ask())
    assert answer.reply.text == "answer 1"
    assert world.kept == {}


async def test_identical_calls_in_flight_make_one() -> None:
    world = World(gate=asyncio.Event())
    path = pipeline(world)
    calls = [asyncio.create_task(path.answer(ask(id=f"call_{n}"))) for n in range(20)]
    while not world.asked:  # noqa: ASYNC110 - one turn of the loop at a time
        await asyncio.sleep(0)
    assert world.gate is not None
    world.gate.set()
    answers = await asyncio.gather(*calls)
    assert len(world.asked) == 1
    assert sorted(answer.layer for answer in answers).count(Layer.COALESCED) == 19
    assert len(world.records) == 20


BUDGET = KeyLimits(daily_budget_usd=1.0)


@pytest.mark.parametrize(
    ("one", "other", "upstream"),
    [
        ({"key_id": "a"}, {"key_id": "b"}, 1),
        ({"key_id": "a", "limits": BUDGET}, {"key_id": "a", "limits": BUDGET}, 1),
        ({"key_id": "a", "limits": BUDGET}, {"key_id": "b"}, 2),
        ({"key_id": "a", "limits": BUDGET}, {"key_id": "b", "limits": BUDGET}, 2),
        ({"key_id": "a", "limits": KeyLimits(tokens_per_minute=9)}, {"key_id": "b"}, 2),
        ({"key_id": "a", "limits": KeyLimits(requests_per_minute=9)}, {"key_id": "b"}, 1),
        ({"origin": Origin.WARM}, {}, 2),
    ],
    ids=["without limits", "one key", "a budget", "two budgets", "tokens", "admitted before", "background"],
)
async def test_nobody_is_refused_or_made_to_wait_by_the_limits_of_another(
    one: dict[str, Any], other: dict[str, Any], upstream: int
) -> None:
    world = World(gate=asyncio.Event())
    path = pipeline(world)
    calls = [asyncio.create_task(path.answer(ask(**changes))) for changes in (one, other)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.gate is not None
    world.gate.set()
    await asyncio.gather(*calls)
    assert len(world.asked) == upstream


@pytest.mark.parametrize(
    "changes",
    [
        {"cache": CacheMode.BYPASS},
        {"params": {"temperature": 0.7}},
    ],
    ids=["bypass", "above temperature 0"],
)
async def test_what_must_not_be_shared_goes_alone(changes: dict[str, Any]) -> None:
    world = World(gate=asyncio.Event())
    path = pipeline(world)
    calls = [asyncio.create_task(path.answer(ask(**changes))) for _ in range(2)]
    while len(world.asked) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert world.gate is not None
    world.gate.set()
    assert {answer.layer for answer in await asyncio.gather(*calls)} == {Layer.NONE}


async def test_evidence_is_made_for_each_user_anew() -> None:
    world = World()
    path = pipeline(world, TABLE)
    answers = [await answered(path, ask(user=f"u{n}")) for n in range(60)]
    evidence = [answer for answer in answers if answer.call.evidence]
    assert 10 < len(evidence) < 50
    assert {answer.layer for answer in evidence} == {Layer.NONE}
    assert {answer.call.arm for answer in evidence} == {STABLE, CANARY}
    rest = [answer for answer in answers if not answer.call.evidence]
    assert sum(answer.layer is Layer.EXACT for answer in rest) == len(rest) - 2  # one miss for each version
    nobody = await answered(path, ask())
    assert (nobody.call.arm, nobody.call.evidence) == (STABLE, False)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"prompt": "nope"}, UnknownPrompt),
        ({"tenant": "other"}, UnknownPrompt),
        ({"pinned": "9.9.9"}, UnknownPrompt),
        ({"variables": {}}, MissingVariable),
    ],
)
async def test_what_cannot_be_routed_is_refused_before_anything_happens(
    changes: dict[str, Any], error: type[PromptyardError]
) -> None:
    world = World()
    with pytest.raises(error):
        await answered(pipeline(world), ask(**changes))
    assert (world.asked, world.records) == ([], [])


async def test_a_failed_chain_is_recorded_as_failed_and_not_kept() -> None:
    world = World(replies=[ProviderTimeout("too slow")])
    with pytest.raises(ProviderTimeout):
        await answered(pipeline(world), ask())
    assert (world.records, world.kept) == ([("failed", "provider_timeout")], {})


async def test_what_nobody_foresaw_is_recorded_without_its_message() -> None:
    world = World(replies=[RuntimeError("a secret")])
    with pytest.raises(RuntimeError):
        await answered(pipeline(world), ask())
    assert world.records == [("failed", "internal_error")]


async def test_a_stream_ends_with_a_recorded_answer_that_later_calls_share() -> None:
    world = World()
    path = pipeline(world)
    pieces = [piece async for piece in path.stream(ask(stream=True))]
    assert [piece.delta["content"] for piece in pieces if isinstance(piece, Delta)] == ["Thirty", " days."]
    assert isinstance(pieces[-1], Answer)
    await path.settle()
    assert (await answered(path, ask())).layer is Layer.EXACT
    replayed = [piece async for piece in path.stream(ask(stream=True))]
    assert isinstance(replayed[0], Delta)
    assert replayed[0].delta["content"] == "Thirty days."


async def test_a_cut_stream_is_failed_and_not_kept() -> None:
    world = World(replies=[StreamInterrupted("cut")])
    with pytest.raises(StreamInterrupted):
        [piece async for piece in pipeline(world).stream(ask(stream=True))]
    assert (world.records, world.kept) == ([("failed", "stream_interrupted")], {})


async def test_a_client_that_leaves_is_recorded_once() -> None:
    world = World(pause=asyncio.Event())
    pieces = pipeline(world).stream(ask(stream=True))
    await anext(pieces)
    await pieces.aclose()
    assert (world.records, world.kept) == ([("failed", "client_gone")], {})
    world.pause = None
    finished = pipeline(world).stream(ask(stream=True))
    async for piece in finished:
        if isinstance(piece, Answer):
            break
    await finished.aclose()
    assert [kind for kind, _ in world.records] == ["failed", "answered"]


async def everything(pieces: AsyncGenerator[Delta | Answer, None]) -> list[Delta | Answer]:
    said = [piece async for piece in pieces]
    for _ in range(20):  # what is kept is kept after the last piece
        await asyncio.sleep(0)
    return said


# --- limits, money, tools, providers that are down


async def test_a_refused_call_asks_nobody_and_is_not_in_the_ledger() -> None:
    world = World(refusal=RateLimited("too many", retry_after=3))
    with pytest.raises(RateLimited):
        await answered(pipeline(world), ask())
    assert (world.asked, world.records, world.money) == ([], [("refused", "rate_limited")], [])


async def test_money_is_reserved_before_and_settled_after_and_hits_need_none() -> None:
    world = World()
    path = pipeline(world)
    await answered(path, ask())
    await answered(path, ask())
    assert world.money == ["reserved", "settled 10 0.5"]


@pytest.mark.parametrize("streaming", [False, True])
async def test_money_is_reserved_once_for_identical_calls_that_share_an_answer(streaming: bool) -> None:
    """Raw calls reserve while they wait for their turn: who follows has nothing to pay for."""
    world = World(gate=asyncio.Event())
    path = pipeline(world)
    raw = structs.replace(
        ask(limits=KeyLimits(daily_budget_usd=1.0), stream=streaming),
        prompt="",
        model="openai/gpt-4.1",
        messages=({"role": "user", "content": "How long?"},),
        params={"temperature": 0},
    )
    waiting = [asyncio.create_task(everything(path.stream(raw)) if streaming else path.answer(raw)) for _ in range(3)]
    while not world.asked:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert world.gate is not None
    world.gate.set()
    await asyncio.gather(*waiting)
    await path.settle()
    assert world.money == ["reserved", "settled 10 0.5"]


@pytest.mark.parametrize("streaming", [False, True])
async def test_money_is_given_back_when_the_chain_refused(streaming: bool) -> None:
    world = World(replies=[ProviderOverloaded("busy")], fail_at_once=True)
    path = pipeline(world)
    with pytest.raises(ProviderOverloaded):
        await (everything(path.stream(ask(stream=True))) if streaming else path.answer(ask()))
    assert world.money == ["reserved", "released"]
    assert world.trails[0].cost().usd == 0


@pytest.mark.parametrize("streaming", [False, True])
async def test_money_stays_reserved_until_it_expires_when_nobody_knows_what_was_charged(streaming: bool) -> None:
    world = World(replies=[ProviderTimeout("too slow")], fail_at_once=True)
    path = pipeline(world)
    with pytest.raises(ProviderTimeout):
        await (everything(path.stream(ask(stream=True))) if streaming else path.answer(ask()))
    assert world.money == ["reserved"]
    assert world.trails[0].cost().usd is None  # a time-out may have been charged


async def test_a_client_that_leaves_a_stream_costs_an_unknown_sum_of_a_known_provider() -> None:
    world = World(pause=asyncio.Event())
    pieces = pipeline(world).stream(ask(stream=True))
    await anext(pieces)
    await pieces.aclose()
    [trail] = world.trails
    assert (trail.asked, trail.cost().usd) == (ModelRef("openai", "small"), None)
    assert world.money == ["reserved", "settled 2 0.5"]  # "Thirty": nobody spends without bound by leaving early


async def test_a_client_that_leaves_when_all_was_said_costs_what_it_cost() -> None:
    """The upstream is read ahead of its reader."""
    world = World()
    pieces = pipeline(world).stream(ask(stream=True))
    await anext(pieces)
    await pieces.aclose()
    [trail] = world.trails
    assert trail.cost().usd == Decimal("0.5")
    assert (world.records, world.money) == ([("failed", "client_gone")], ["reserved", "settled 10 0.5"])


async def test_a_stream_that_was_cut_counts_for_limits_what_it_said() -> None:
    cut = StreamInterrupted("cut")
    cut.partial = structs.replace(reply("Thirty days."), usage=Usage(complete=False))
    world = World(replies=[cut])
    with pytest.raises(StreamInterrupted):
        await everything(pipeline(world).stream(ask(stream=True)))
    assert world.money == ["reserved", "settled 3 0.5"]
    assert world.trails[0].cost().usd is None


async def test_a_caller_who_leaves_an_answer_is_recorded() -> None:
    world = World(gate=asyncio.Event())
    call = asyncio.create_task(pipeline(world).answer(ask()))
    while not world.asked:  # noqa: ASYNC110
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert world.records == [("failed", "client_gone")]
    assert world.trails[0].asked == ModelRef("openai", "small")


async def test_who_stays_pays_when_the_leader_of_a_shared_call_leaves() -> None:
    world = World(gate=asyncio.Event())
    path = pipeline(world)
    leader = asyncio.create_task(path.answer(ask(id="call_1")))
    while not world.asked:  # noqa: ASYNC110
        await asyncio.sleep(0)
    others = [asyncio.create_task(path.answer(ask(id=f"call_{n}"))) for n in (2, 3)]
    for _ in range(5):
        await asyncio.sleep(0)
    leader.cancel()
    await asyncio.sleep(0)
    assert world.gate is not None
    world.gate.set()
    answers = await asyncio.gather(*others)
    assert sorted((a.layer, a.paid_usd, a.call.id) for a in answers)[0][0] is Layer.COALESCED
    assert sum(a.paid_usd or 0 for a in answers) == Decimal("0.5")
    assert {a.call.id for a in answers} == {"call_2", "call_3"}
    assert world.trails[0].costs == []


DOWN = ChainExhausted("all links failed")
DOWN.attempts = (Attempt("openai", "m", 1.0, "provider_unreachable"),)


@pytest.mark.parametrize("streaming", [False, True])
async def test_the_last_good_answer_stands_in_while_every_provider_is_down(streaming: bool) -> None:
    world = World(stands_in=True)
    path = pipeline(world)
    first = await answered(path, ask())
    world.replies = [DOWN]
    if streaming:
        world.fail_at_once = True
        pieces = [piece async for piece in path.stream(ask(cache=CacheMode.REFRESH, stream=True))]
        answer = pieces[-1]
        assert isinstance(answer, Answer)
    else:
        answer = await answered(path, ask(cache=CacheMode.REFRESH))
    assert (answer.layer, answer.reply.text, answer.cache_reason) == (Layer.STALE, first.reply.text, DOWN.code)
    assert answer.paid_usd == 0


async def test_what_providers_took_in_vain_is_paid_for_by_the_answer_that_stands_in() -> None:
    world = World(stands_in=True)
    path = pipeline(world)
    await answered(path, ask())
    world.replies = [ProviderTimeout("no token in time")]  # it may be charged
    answer = await answered(path, ask(cache=CacheMode.REFRESH))
    assert answer.layer is Layer.STALE
    assert answer.paid_usd is None
    assert answer.saved_usd


@pytest.mark.parametrize(
    ("text", "epoch", "stands"),
    [
        ("Returns: 30 days.", "e2", True),
        ("Returns: 45 days.", "e2", False),
        ("Returns: 45 days.", "", False),
        ("Returns: 30 days.", "", True),
    ],
)
async def test_the_last_good_answer_never_stands_past_its_provenance(text: str, epoch: str, stands: bool) -> None:
    world = World(stands_in=True)
    path = pipeline(world)
    await answered(path, ask())
    world.text, world.epoch, world.replies = text, epoch, [DOWN]
    if stands:
        assert (await answered(path, ask(cache=CacheMode.REFRESH))).layer is Layer.STALE
    else:
        with pytest.raises(ChainExhausted):
            await answered(path, ask(cache=CacheMode.REFRESH))


async def test_a_request_that_is_wrong_is_no_outage() -> None:
    world = World(stands_in=True)
    path = pipeline(world)
    await answered(path, ask())
    world.replies = [ProviderRejectedRequest("temperature 9")]
    with pytest.raises(ProviderRejectedRequest):
        await answered(path, ask(cache=CacheMode.REFRESH))


def wants(*names: str) -> Reply:
    calls = [
        {"id": f"t{n}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for n, name in enumerate(names)
    ]
    return structs.replace(reply(""), message={"role": "assistant", "content": None, "tool_calls": calls})


TOOLED = structs.replace(VERSION, tools=("lookup", "dice", "search"))
TOOLED_TABLE = RoutingTable(1, (Route(tenant="acme", prompt="help", arms=(Arm(STABLE, TOOLED, 10_000),)),))


async def test_registered_tools_are_executed_and_the_model_asked_again() -> None:
    world = World(replies=[wants("lookup"), wants("lookup", "lookup"), reply("It is 42.")])
    answer = await answered(pipeline(world, TOOLED_TABLE), ask())
    assert (answer.reply.text, answer.reply.usage) == ("It is 42.", Usage(300, 30))
    assert answer.paid_usd == Decimal("1.5")
    assert [message["role"] for message in world.asked[2].messages[2:]] == [
        "assistant", "tool", "assistant", "tool", "tool",
    ]  # fmt: skip
    assert [tool["function"]["name"] for tool in world.asked[0].params["tools"]] == ["lookup", "dice", "search"]
    assert len(world.kept) == 1


async def test_an_answer_from_tools_that_say_something_else_each_time_is_not_kept() -> None:
    world = World(replies=[wants("dice"), reply("A six.")])
    await answered(pipeline(world, TOOLED_TABLE), ask())
    assert world.kept == {}


async def test_tool_rounds_are_bounded() -> None:
    world = World(replies=[wants("lookup") for _ in range(50)])
    await answered(pipeline(world, TOOLED_TABLE), ask())
    assert len(world.asked) == MAX_TOOL_ROUNDS + 1
    assert world.asked[-1].params["tool_choice"] == "none"


async def test_tools_of_the_caller_are_the_callers() -> None:
    world = World(replies=[wants("lookup", "theirs")])
    answer = await answered(pipeline(world, TOOLED_TABLE), ask())
    assert len(world.asked) == 1
    assert len(answer.reply.message["tool_calls"]) == 2


async def test_a_stream_hides_the_rounds_of_its_tools() -> None:
    world = World(rounds=[wants("lookup"), reply("It is 42.")])
    pieces = [piece async for piece in pipeline(world, TOOLED_TABLE).stream(ask(stream=True))]
    assert [piece.delta for piece in pieces if isinstance(piece, Delta)] == [{"content": "It is 42."}]
    assert isinstance(pieces[-1], Answer)
    assert (pieces[-1].reply.text, pieces[-1].reply.usage) == ("It is 42.", Usage(200, 20))


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_answer_made_from_a_tools_error_is_not_kept(streaming: bool) -> None:
    world = World(rounds=[wants("lookup"), reply("Sorry.")], tools_work=False)
    world.replies = [] if streaming else list(world.rounds)
    path = pipeline(world, TOOLED_TABLE)
    await (everything(path.stream(ask(stream=True))) if streaming else path.answer(ask()))
    assert (len(world.asked), world.kept) == (2, {})


async def test_what_a_tool_found_is_provenance_beside_what_was_retrieved() -> None:
    world = World(replies=[wants("search"), reply("Thirty.")])
    answer = await answered(pipeline(world, TOOLED_TABLE), ask())
    assert answer.reply.documents == ("doc:faq/returns@17", "doc:faq/found@17")


@pytest.mark.parametrize(("tool", "asked"), [("search", 4), ("lookup", 2)])
@pytest.mark.parametrize("streaming", [False, True])
async def test_what_a_tool_found_stands_only_while_no_document_has_changed(
    tool: str, asked: int, streaming: bool
) -> None:
    rounds = [wants(tool), reply("Thirty."), wants(tool), reply("Thirty.")]
    world = World(meanwhile=[("Returns: 30 days.", "e2")], rounds=list(rounds))
    world.replies = [] if streaming else list(rounds)
    path = pipeline(world, TOOLED_TABLE)
    if streaming:
        said = [piece.delta for piece in await everything(path.stream(ask(stream=True))) if isinstance(piece, Delta)]
        assert said == [{"content": "Thirty."}]
    else:
        assert (await answered(path, ask())).reply.text == "Thirty."
    assert len(world.asked) == asked


async def test_a_raw_call_that_is_made_again_asks_the_same() -> None:
    raw = ask(prompt="", model="openai/small", messages=({"role": "user", "content": "Hi"},), collection="faq")
    world = World(
        meanwhile=[("Returns: 30 days.", "e2")],
        replies=[wants("search"), reply("Old."), wants("search"), reply("New.")],
    )
    answer = await answered(pipeline(world), structs.replace(raw, tools=("search",)))
    assert (answer.reply.text, len(world.asked)) == ("New.", 4)
    assert [request.messages[0]["content"] for request in world.asked] == ["Hi"] * 4


@pytest.mark.parametrize(
    "theirs", [[{"type": "function", "function": {"name": "dice"}}], [{"name": "dice", "input_schema": {}}], "dice"]
)
async def test_a_callers_tool_cannot_take_the_name_of_a_registered_one(theirs: Any) -> None:
    world = World()
    with pytest.raises(InvalidRequest):
        await answered(pipeline(world, TOOLED_TABLE), ask(params={"tools": theirs}))
    assert world.asked == []


@pytest.mark.parametrize(("tools", "asked"), [(("lookup",), 1), (("lookup", "dice"), 2)])
async def test_calls_in_flight_are_one_only_if_their_tools_may_be_used_once_for_all(
    tools: tuple[str, ...], asked: int
) -> None:
    world = World(gate=asyncio.Event())
    version = structs.replace(VERSION, tools=tools)
    path = pipeline(
        world, RoutingTable(1, (Route(tenant="acme", prompt="help", arms=(Arm(STABLE, version, 10_000),)),))
    )
    calls = [asyncio.create_task(path.answer(ask(id=f"call_{n}"))) for n in range(2)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert world.gate is not None
    world.gate.set()
    await asyncio.gather(*calls)
    assert len(world.asked) == asked


async def test_a_stream_with_tools_begins_once() -> None:
    world = Talking(rounds=[wants("lookup"), reply("It is 42.")])
    pieces = await everything(pipeline(world, TOOLED_TABLE).stream(ask(stream=True)))
    assert [piece.delta for piece in pieces if isinstance(piece, Delta)] == [
        {"role": "assistant", "content": ""},
        {"content": "It is 42."},
    ]


class Talking(World):
    """A provider whose streams begin with a role, as OpenAI's do."""

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        yield Delta(delta={"role": "assistant", "content": ""})
        async for piece in super().stream(request):
            yield piece


async def test_an_answer_says_what_each_layer_said() -> None:
    world = World()
    answering = pipeline(world)
    missed = await answered(answering, ask())
    assert missed.layers == {"exact": "miss", "context": "off", "embedding": "hit"}
    found = await answering.answer(ask())
    assert (found.layer, found.layers) == (Layer.EXACT, {"exact": "hit"})
    world.epoch = "e2"
    still_true = await answering.answer(ask())
    assert still_true.layers == {"exact": "revalidated", "context": "off", "embedding": "hit"}


# --- answers that another worker made


class Elsewhere:
    """Leases of a worker that always finds another one at work, which lands when ``before`` has been done."""

    def __init__(self, before: Callable[[], None], *pieces: str) -> None:
        self.before = before
        self.pieces = [Delta(delta={"content": piece}) for piece in pieces]

    def listen(self, hear: Callable[[Message], None]) -> None:
        self.hear = hear

    async def ask(self, flight: str, *, landed_too: bool = False) -> Taken:
        self.before()
        loop = asyncio.get_running_loop()
        if self.pieces:
            loop.call_soon(self.hear, Message(PIECES, flight, msgspec.to_builtins(self.pieces)))
        loop.call_soon(self.hear, Message(REPLY, flight, msgspec.to_builtins(reply("Thirty days."))))
        return Taken(60.0, holder="them")

    async def leave(self, lease: object, *, landed: bool) -> set[str]:
        raise AssertionError("nothing was leased")

    def tell(self, channels: set[str], message: Message) -> None:
        raise AssertionError("nobody listens")


async def test_a_flight_that_its_caller_left_is_booked_also_when_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    call = structs.replace(ask(), id="call_left")
    shared, own = (Trail(call=call, begun=0.0) for _ in range(2))
    shared.costs.append(Cost(Decimal("0.5")))
    flight = Flight("k", shared)
    sharing = pipeline(World())._sharing
    booked: list[Decimal | None] = []
    sharing.when_landed(flight, own, lambda: booked.append(own.cost().usd))
    await asyncio.sleep(0)
    flight.fail(DOWN)
    await sharing.settle()
    gc.collect()
    assert booked == [Decimal("0.5")]
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_another_worker_is_served_while_nothing_has_changed(stream: bool) -> None:
    world = World()
    path = pipeline(world, coalescer=Coalescer(Elsewhere(lambda: None, *(["Thirty"] if stream else []))))
    if stream:
        pieces = await everything(path.stream(ask(stream=True)))
        assert [one.delta["content"] for one in pieces if isinstance(one, Delta)] == ["Thirty", " days."]
        assert isinstance(answer := pieces[-1], Answer)
    else:
        answer = await path.answer(ask())
    assert (answer.layer, answer.reply.text, world.asked) == (Layer.COALESCED, "Thirty days.", [])


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_another_worker_that_comes_after_a_change_is_not_served(stream: bool) -> None:
    """It was true when it was made; then it was on its way, and a change of the documents was acknowledged."""
    world = World(replies=[reply("45 days.")] * 2)

    def change() -> None:
        world.text, world.epoch = "Returns: 45 days.", "e2"

    path = pipeline(world, coalescer=Coalescer(Elsewhere(change, *(["Thirty"] if stream else []))))
    if stream:
        await everything(path.stream(ask(stream=True)))
    else:
        assert (await path.answer(ask())).reply.text == "45 days."
    [asked] = world.asked
    assert "45 days" in asked.messages[0]["content"]


async def test_who_wants_the_whole_does_not_fail_with_a_stream_that_it_joined() -> None:
    world = World(pause=asyncio.Event(), replies=[StreamInterrupted("cut"), reply("Thirty days.")])
    path = pipeline(world)
    stream = asyncio.create_task(everything(path.stream(ask(stream=True))))
    while not world.asked:  # noqa: ASYNC110
        await asyncio.sleep(0)
    whole = [asyncio.create_task(path.answer(ask())) for _ in range(5)]
    for _ in range(20):
        await asyncio.sleep(0)
    world.replies.pop(0)
    world.pause_error = StreamInterrupted("cut")
    assert world.pause is not None
    world.pause.set()
    with pytest.raises(StreamInterrupted):
        await stream
    assert {(await one).reply.text for one in whole} == {"Thirty days."}
    assert len(world.asked) == 2


class Purse(World):
    """Has money for the first trip to the providers alone."""

    async def reserve(self, call: Call) -> str:
        if self.money:
            raise BudgetExhausted("the day's money is spent", retry_after=3600)
        return await super().reserve(call)


async def test_what_was_paid_before_the_money_was_spent_is_in_the_ledger() -> None:
    """A round of tools, and then no money for the next."""
    world = Purse(replies=[wants("lookup")])
    with pytest.raises(BudgetExhausted):
        await pipeline(world, TOOLED_TABLE).answer(ask())
    assert world.records == [("failed", "budget_exhausted")]
    assert world.trails[0].cost().usd == Decimal("0.5")


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_arm_that_failed_has_failed_although_there_is_no_money_for_the_baseline(streaming: bool) -> None:
    world = Purse(replies=[ProviderRejectedRequest("no")], fail_at_once=True)
    route = Route(
        tenant="acme",
        prompt="help",
        arms=(Arm(STABLE, VERSION, 1), Arm("1.1.0", NEXT, 9_999)),
        experiment="exp_1",
        policy="ab",
        salt="s",
        fall_back=True,
    )
    answering = pipeline(world, RoutingTable(1, (route,)))
    asked = anext(answering.stream(ask(user="ada"))) if streaming else answering.answer(ask(user="ada"))
    with pytest.raises(BudgetExhausted):
        await asked
    assert world.records == [("failed", "budget_exhausted")]
    assert world.trails[0].call.fell_back_from == "1.1.0"
