"""The request path with fakes at its seams: what is asked of whom, what is kept, what is recorded."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from gateway.cache.coalesce import Coalescer
from gateway.cache.keys import answer_key
from gateway.clock import ManualClock
from gateway.errors import MissingVariable, PromptyardError, ProviderTimeout, StreamInterrupted, UnknownPrompt
from gateway.pipeline import MAX_REMAKES, Pipeline
from gateway.prompts.router import Router
from gateway.types import (
    CANARY,
    STABLE,
    Answer,
    Arm,
    CacheMode,
    Call,
    Candidate,
    Completion,
    Cost,
    Delta,
    Layer,
    ModelRef,
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
    candidate: Candidate | None = None


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

    async def keep(self, call: Call, answer: Reply, expires_at: float | None = None) -> str:
        if (
            call.cache is CacheMode.BYPASS
            or call.evidence
            or (call.collection and (not call.epoch or call.epoch != self.epoch))
        ):
            return "no"
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
        for piece in ("Thirty", " days."):
            yield Delta(delta={"content": piece})
        if self.replies and isinstance(self.replies[0], Exception):
            raise self.replies[0]
        yield Delta(reply=reply())

    # --- Recorder
    def answered(self, answer: Answer) -> None:
        self.records.append(("answered", answer))

    def failed(self, call: Call, error: PromptyardError, latency_ms: float) -> None:
        self.records.append(("failed", error.code))

    def stage(self, name: str, call: Call, seconds: float) -> None:
        assert seconds >= 0


@dataclass
class Library:
    """The retriever's side of a world: passages as they are at that moment."""

    world: World

    async def find(self, tenant: str, collection: str, epoch: str, query: str, top_k: int) -> Any:
        assert (tenant, collection, query) == ("acme", "faq", "How long?")
        return Retrieved(self.world.passages, self.world.fresh)


@dataclass(frozen=True)
class Retrieved:
    passages: tuple[Passage, ...]
    fresh: bool


def pipeline(world: World, table: RoutingTable | None = None) -> Pipeline:
    stable = RoutingTable(1, (Route(tenant="acme", prompt="help", arms=(Arm(STABLE, VERSION, 10_000),)),))
    return Pipeline(
        router=Router(table or stable),
        cache=world,
        epochs=world,
        coalescer=Coalescer(),
        retriever=Library(world),
        providers=world,
        recorder=world,
        price=lambda provider, model, usage, at: Cost(Decimal("0.5")),
        show_passages=lambda passages: "\n".join(passage.text for passage in passages),
        clock=ManualClock(),
    )


async def test_a_miss_is_grounded_asked_kept_and_recorded_with_provenance() -> None:
    world = World()
    answer = await pipeline(world).answer(ask())
    assert [m["content"] for m in world.asked[0].messages] == ["Answer from:\nReturns: 30 days.", "How long?"]
    assert world.asked[0].chain == VERSION.chain
    assert (answer.layer, answer.paid_usd, answer.saved_usd) == (Layer.NONE, Decimal("0.5"), Decimal(0))
    assert answer.reply.documents == (f"doc:faq/returns@{len(world.text)}",)
    assert [kind for kind, _ in world.records] == ["answered"]


async def test_a_hit_asks_nobody_and_says_what_it_saved() -> None:
    world = World()
    path = pipeline(world)
    first = await path.answer(ask())
    again = await path.answer(ask(id="call_2"))
    assert (len(world.asked), again.layer, again.reply.text) == (1, Layer.EXACT, first.reply.text)
    assert (again.paid_usd, again.saved_usd) == (Decimal(0), Decimal("0.5"))


async def test_a_change_that_grounds_it_differently_makes_the_answer_anew() -> None:
    world = World()
    path = pipeline(world)
    await path.answer(ask())
    world.text, world.epoch = "Returns: 45 days.", "e2"
    again = await path.answer(ask())
    assert (again.layer, len(world.asked)) == (Layer.NONE, 2)
    assert "45 days" in world.asked[1].messages[0]["content"]


async def test_a_change_elsewhere_leaves_the_answer_standing_and_no_younger() -> None:
    world = World()
    path = pipeline(world)
    await path.answer(ask())
    world.epoch = "e2"
    again = await path.answer(ask())
    assert (again.layer, again.cache_reason, len(world.asked)) == (Layer.EXACT, "revalidated", 1)
    assert next(iter(world.kept.values()))[1:] == ("e2", again.call.grounding, 2_000.0)
    assert (await path.answer(ask())).cache_reason == "hit"


async def test_an_answer_in_flight_is_made_again_when_its_documents_change() -> None:
    world = World(meanwhile=[("Returns: 45 days.", "e2")])
    answer = await pipeline(world).answer(ask())
    assert [m.messages[0]["content"] for m in world.asked] == [
        "Answer from:\nReturns: 30 days.",
        "Answer from:\nReturns: 45 days.",
    ]
    assert (answer.reply.text, next(iter(world.kept.values()))[1]) == ("answer 2", "e2")


async def test_remakes_are_bounded_and_the_last_one_is_not_kept() -> None:
    world = World(meanwhile=[(f"Returns: {n} days.", f"e{n}") for n in range(40, 50)])
    answer = await pipeline(world).answer(ask())
    assert (len(world.asked), world.kept) == (MAX_REMAKES, {})
    assert answer.reply.documents


@pytest.mark.parametrize("changes", [{"epoch": ""}, {"fresh": False}], ids=["unknown epoch", "old index"])
async def test_nothing_is_kept_when_freshness_cannot_be_known(changes: dict[str, Any]) -> None:
    world = World(**changes)
    answer = await pipeline(world).answer(ask())
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
    answers = [await path.answer(ask(user=f"u{n}")) for n in range(60)]
    evidence = [answer for answer in answers if answer.call.evidence]
    assert 10 < len(evidence) < 50
    assert {answer.layer for answer in evidence} == {Layer.NONE}
    assert {answer.call.arm for answer in evidence} == {STABLE, CANARY}
    rest = [answer for answer in answers if not answer.call.evidence]
    assert sum(answer.layer is Layer.EXACT for answer in rest) == len(rest) - 2  # one miss for each version
    nobody = await path.answer(ask())
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
        await pipeline(world).answer(ask(**changes))
    assert (world.asked, world.records) == ([], [])


async def test_a_failed_chain_is_recorded_as_failed_and_not_kept() -> None:
    world = World(replies=[ProviderTimeout("too slow")])
    with pytest.raises(ProviderTimeout):
        await pipeline(world).answer(ask())
    assert (world.records, world.kept) == ([("failed", "provider_timeout")], {})


async def test_what_nobody_foresaw_is_recorded_without_its_message() -> None:
    world = World(replies=[RuntimeError("a secret")])
    with pytest.raises(RuntimeError):
        await pipeline(world).answer(ask())
    assert world.records == [("failed", "internal_error")]


async def test_a_stream_ends_with_a_recorded_answer_that_later_calls_share() -> None:
    world = World()
    path = pipeline(world)
    pieces = [piece async for piece in path.stream(ask(stream=True))]
    assert [piece.delta["content"] for piece in pieces if isinstance(piece, Delta)] == ["Thirty", " days."]
    assert isinstance(pieces[-1], Answer)
    assert (await path.answer(ask())).layer is Layer.EXACT
    replayed = [piece async for piece in path.stream(ask(stream=True))]
    assert isinstance(replayed[0], Delta)
    assert replayed[0].delta["content"] == "Thirty days."


async def test_a_cut_stream_is_failed_and_not_kept() -> None:
    world = World(replies=[StreamInterrupted("cut")])
    with pytest.raises(StreamInterrupted):
        [piece async for piece in pipeline(world).stream(ask(stream=True))]
    assert (world.records, world.kept) == ([("failed", "stream_interrupted")], {})


async def test_a_client_that_leaves_is_recorded_once() -> None:
    world = World()
    pieces = pipeline(world).stream(ask(stream=True))
    await anext(pieces)
    await pieces.aclose()
    assert (world.records, world.kept) == ([("failed", "client_gone")], {})
    finished = pipeline(world).stream(ask(stream=True))
    async for piece in finished:
        if isinstance(piece, Answer):
            break
    await finished.aclose()
    assert [kind for kind, _ in world.records] == ["failed", "answered"]
