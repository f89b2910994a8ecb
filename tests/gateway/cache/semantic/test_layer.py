"""What the layer serves, and above all what it does not: real Redis under it, a written embedder, no providers."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec import structs
from redis.asyncio import Redis

from gateway.cache.epochs import Epochs
from gateway.cache.exact import ExactCache
from gateway.cache.semantic.index import SimilarIndex
from gateway.cache.semantic.layer import SemanticAnswers
from gateway.cache.semantic.scope import MAX_CHARACTERS, SemanticScope, question_of
from gateway.cache.semantic.shelf import FOLLOW_EVERY, Shelf
from gateway.cache.semantic.verdicts import Verdict
from gateway.clock import ManualClock
from gateway.errors import ProviderTimeout
from gateway.prompts.rewording import compared_variable, reworded
from gateway.storage.redis_line import RedisLine
from gateway.trail import Trail
from gateway.types import (
    CacheMode,
    CachePlace,
    CachePolicy,
    Call,
    Candidate,
    Origin,
    PromptVersion,
    Reply,
    SemanticMode,
    SemanticPair,
    SemanticPolicy,
    Variable,
)
from tests.gateway.cache.semantic.vectors import WrittenEmbedder, beside, unit
from tests.gateway.cache.specimens import MANAGED, REPLY, VERSION
from tests.servers import RedisServer, let_the_loop_notice

KEPT, ASKED, FAR = "How do I get my money back?", "How do I get a refund?", "Where is my parcel?"
PLACES = {KEPT: unit(16, 1), ASKED: beside(unit(16, 1), 0.95), FAR: beside(unit(16, 1), 0.2)}
SERVING = Verdict(True, 0.9, 0.02, "serving")


def version(**policy: Any) -> PromptVersion:
    fields: dict[str, Any] = {"mode": SemanticMode.ON, "judged_share": 1.0, "sampled_share": 0.0} | policy
    cache = CachePolicy(ttl=100.0, jitter=0.0, semantic=SemanticPolicy(**fields))
    return structs.replace(VERSION, variables=(Variable("question"),), cache=cache)


def ask(text: str, **changes: Any) -> Call:
    fields: dict[str, Any] = {"version": version(), "variables": {"question": text}, "query": text} | changes
    return structs.replace(MANAGED, **fields)


@dataclass
class Told:
    """Verdicts as a test wants them."""

    verdict: Verdict | None = SERVING
    scopes: list[SemanticScope] = field(default_factory=list)

    async def of(self, scope: SemanticScope) -> Verdict | None:
        self.scopes.append(scope)
        return self.verdict

    def forget(self) -> None:
        """Nothing is remembered."""


@dataclass
class Worker:
    """A worker's layer, and the exact layer under it."""

    layer: SemanticAnswers
    cache: ExactCache
    epochs: Epochs
    embedder: WrittenEmbedder
    told: Told
    clock: ManualClock
    pairs: list[SemanticPair]
    true: bool = True
    """Whether today's documents ground kept questions as they did."""
    grounded: list[Call] = field(default_factory=list)

    async def still_true(self, call: Call, candidate: Candidate) -> Reply | None:
        self.grounded.append(call)
        return candidate.reply if self.true else None

    async def begin(self, call: Call) -> Call:
        return structs.replace(call, epoch=await self.epochs.current(call.tenant, call.collection))

    async def find(self, call: Call) -> tuple[Reply | None, Trail]:
        call = await self.begin(call)
        trail = Trail(call=call, begun=0.0)
        return await self.layer.find(call, trail, self.still_true), trail

    async def answer(self, text: str, reply: Reply = REPLY, **changes: Any) -> Trail:
        """A call that nobody had an answer for, with what follows it."""
        call = await self.begin(ask(text, **changes))
        trail = Trail(call=call, begun=0.0)
        await self.layer.find(call, trail, self.still_true)
        if await self.cache.keep(call, reply) == "kept":
            await self.layer.learn(call, reply, trail, self.still_true)
        await self.settle()
        return trail

    async def settle(self) -> None:
        await self.layer.settle()
        self.clock.advance(FOLLOW_EVERY)


@pytest.fixture
def worker(cache_redis: Redis, epochs: Epochs, cache: ExactCache, clock: ManualClock) -> Worker:
    return make(cache_redis, epochs, cache, clock)


def make(redis: Redis, epochs: Epochs, cache: ExactCache, clock: ManualClock, **changes: Any) -> Worker:
    embedder, told, pairs = WrittenEmbedder(dict(PLACES)), Told(), list[SemanticPair]()
    fields: dict[str, Any] = {
        "cache": cache,
        "epochs": epochs,
        "embedder": embedder,
        "shelf": Shelf(RedisLine(redis, timeout=1.0), clock=clock, new_index=SimilarIndex),
        "verdicts": told,
        "compared": compared_variable,
        "reworded": reworded,
        "record": pairs.append,
        "clock": clock,
        "entropy": random.Random(3),
        "veto": lambda asked, kept: "",
    } | changes
    return Worker(SemanticAnswers(**fields), cache, epochs, embedder, told, clock, pairs)


async def test_a_similar_question_gets_the_kept_answer(worker: Worker) -> None:
    await worker.answer(KEPT)
    reply, trail = await worker.find(ask(ASKED))
    assert reply == REPLY
    notes = trail.notes["semantic"]
    assert notes | {"state": "serving", "served": True, "threshold": 0.9, "veto": "", "lexical": False} == notes
    assert notes["similarity"] == pytest.approx(0.95, abs=0.01)
    assert notes["kept_key"] == worker.cache.key(ask(KEPT))[:16]
    assert [stage.name for stage in trail.stages] == ["semantic"]
    assert trail.layers == {"semantic": "hit"}


async def test_another_worker_serves_it_too(
    worker: Worker, cache_redis: Redis, epochs: Epochs, cache: ExactCache, clock: ManualClock
) -> None:
    other = make(cache_redis, epochs, cache, clock)
    await other.find(ask(FAR))
    await other.settle()
    await worker.answer(KEPT)
    await other.find(ask(FAR))
    await other.settle()
    assert (await other.find(ask(ASKED)))[0] == REPLY


async def test_notes_say_nothing_of_what_was_asked(worker: Worker) -> None:
    await worker.answer(KEPT)
    _, trail = await worker.find(ask(ASKED))
    assert not any(word in repr(trail.notes) for word in ("money", "refund"))


UNEARNED = {
    "nobody has judged": None,
    "not enough is judged": Verdict(False, 0.9, 0.2, "proving"),
    "it was demoted": Verdict(False, 0.9, 0.2, "demoted"),
    "the question is not similar enough": Verdict(True, 0.97),
}


@pytest.mark.parametrize("verdict", UNEARNED.values(), ids=UNEARNED.keys())
async def test_what_is_not_earned_is_not_served(worker: Worker, verdict: Verdict | None) -> None:
    await worker.answer(KEPT)
    worker.told.verdict = verdict
    reply, trail = await worker.find(ask(ASKED))
    assert reply is None
    assert trail.notes["semantic"]["served"] is False


async def test_a_shadow_never_serves_whatever_the_verdict(worker: Worker) -> None:
    shadow = version(mode=SemanticMode.SHADOW)
    await worker.answer(KEPT, version=shadow)
    reply, trail = await worker.find(ask(ASKED, version=shadow))
    assert reply is None
    assert trail.notes["semantic"]["state"] == "shadow"
    assert worker.told.scopes == []


async def test_a_guard_vetoes_and_the_next_one_may_serve(
    cache_redis: Redis, epochs: Epochs, cache: ExactCache, clock: ManualClock
) -> None:
    def veto(asked: str, kept: str) -> str:
        return "numbers" if kept == KEPT else ""

    worker = make(cache_redis, epochs, cache, clock, veto=veto)
    second = "May I have my money back?"
    worker.embedder.places[second] = beside(PLACES[ASKED], 0.92, seed=5)
    await worker.answer(KEPT)
    reply, trail = await worker.find(ask(ASKED))
    assert reply is None
    assert trail.notes["semantic"]["veto"] == "numbers"
    other = {"role": "assistant", "content": "At any cash machine."}  # the vetoed answer would be vetoed again
    await worker.answer(second, structs.replace(REPLY, message=other))
    worker.told.verdict = Verdict(True, 0.5, 0.02, "serving")  # the vetoed neighbour votes against it
    reply, trail = await worker.find(ask(ASKED))
    assert reply is not None
    assert reply.message == other
    assert trail.notes["semantic"]["veto"] == ""


async def test_the_answer_that_was_vetoed_is_not_served_for_another_wording(
    cache_redis: Redis, epochs: Epochs, cache: ExactCache, clock: ManualClock
) -> None:
    def veto(asked: str, kept: str) -> str:
        return "numbers" if kept == KEPT else ""

    worker = make(cache_redis, epochs, cache, clock, veto=veto)
    second = "May I have my money back?"
    worker.embedder.places[second] = beside(PLACES[ASKED], 0.92, seed=5)
    await worker.answer(KEPT)
    await worker.answer(second)
    reply, trail = await worker.find(ask(ASKED))
    assert reply is None
    assert trail.notes["semantic"]["veto"] == "numbers"


HARD: dict[str, dict[str, Any]] = {
    "another tenant": {"tenant": "other", "version": structs.replace(version(), tenant="other")},
    "another version": {"version": structs.replace(version(), version="1.0.1", digest="d2")},
    "another variable": {"variables": {"question": ASKED, "language": "de"}},
    "other parameters": {"params": {"temperature": 0, "max_tokens": 5}},
    "another collection": {"collection": "other"},
    "another repeat": {"repeat": 1},
}


@pytest.mark.parametrize("changes", HARD.values(), ids=HARD.keys())
async def test_what_else_differs_is_a_hard_boundary(worker: Worker, changes: dict[str, Any]) -> None:
    policy = version(variable="question")
    changes = {"version": policy} | changes
    await worker.answer(KEPT, version=policy)
    assert (await worker.find(ask(ASKED, version=policy)))[0] is not None
    for _ in range(2):  # the second time, the other part is loaded
        assert (await worker.find(ask(ASKED, **changes)))[0] is None
        await worker.settle()


NEVER: dict[str, tuple[str, dict[str, Any]]] = {
    "off": ("off", {"version": version(mode=SemanticMode.OFF)}),
    "evidence": ("evidence", {"evidence": True}),
    "bypass": ("bypass", {"cache": CacheMode.BYPASS}),
    "refresh": ("bypass", {"cache": CacheMode.REFRESH}),
    "personal": ("personal", {"version": structs.replace(version(), personal=True)}),
    "above zero": ("temperature", {"params": {"temperature": 0.7}}),
    "exact off": ("off", {"version": structs.replace(version(), cache=CachePolicy(exact=False))}),
    "in process": ("process", {"version": structs.replace(version(), cache=CachePolicy(place=CachePlace.PROCESS))}),
    "turns": ("turns", {"history": ({"role": "user", "content": "Hello"},)}),
    "messages": ("turns", {"messages": ({"role": "user", "content": "Hello"},)}),
    "long": ("length", {"variables": {"question": "a" * (MAX_CHARACTERS + 1)}}),
    "blank": ("variable", {"variables": {"question": "  "}}),
    "two variables": ("variable", {"version": structs.replace(version(), retrieval=None, variables=())}),
    "gate": ("origin", {"origin": Origin.GATE}),
    "warm": ("origin", {"origin": Origin.WARM}),
    "probe": ("origin", {"origin": Origin.PROBE}),
}


@pytest.mark.parametrize(("why", "changes"), NEVER.values(), ids=NEVER.keys())
async def test_who_is_never_served_is_not_even_embedded(worker: Worker, why: str, changes: dict[str, Any]) -> None:
    await worker.answer(KEPT)
    worker.embedder.asked.clear()
    reply, trail = await worker.find(ask(ASKED, **changes))
    assert reply is None
    assert trail.notes["semantic"] == {"state": "off", "why": why}
    assert trail.stages == []
    assert worker.embedder.asked == []


async def test_raw_calls_are_left_alone(worker: Worker) -> None:
    reply, trail = await worker.find(ask(ASKED, version=None))
    assert (reply, trail.notes) == (None, {})


async def test_turns_are_compared_where_the_prompt_opts_in_and_only_with_an_equal_history(worker: Worker) -> None:
    opted = version(multi_turn=True)
    history = ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"})
    await worker.answer(KEPT, version=opted, history=history)
    assert (await worker.find(ask(ASKED, version=opted, history=history)))[0] is not None
    assert (await worker.find(ask(ASKED, version=opted, history=history[:1])))[0] is None


async def test_without_the_content_of_calls_nothing_can_be_earned_and_it_says_so(
    cache_redis: Redis, epochs: Epochs, cache: ExactCache, clock: ManualClock
) -> None:
    worker = make(cache_redis, epochs, cache, clock, record=None)
    trail = await worker.answer(KEPT)
    assert trail.notes["semantic"] == {"state": "off", "why": "content"}
    assert await cache_redis.keys("py:s:*") == []


# --- never staler than the exact layer -------------------------------------------------------------------------------


async def change_documents(worker: Worker) -> None:
    token = await worker.epochs.begin("acme", "help")
    await worker.epochs.publish("acme", "help", token)


async def test_after_a_change_of_documents_the_kept_question_is_grounded_anew(worker: Worker) -> None:
    await worker.answer(KEPT)
    await change_documents(worker)
    reply, _ = await worker.find(ask(ASKED))
    assert reply == REPLY
    (kept,) = worker.grounded
    assert (kept.variables, kept.query) == ({"question": KEPT}, KEPT)
    assert kept.epoch == await worker.epochs.current("acme", "help")
    assert kept.rendered == ()


async def test_an_answer_that_is_no_longer_true_is_not_served_and_its_question_forgotten(worker: Worker) -> None:
    await worker.answer(KEPT)
    assert (await worker.find(ask(ASKED)))[0] == REPLY
    await worker.settle()
    await change_documents(worker)
    worker.true = False
    assert (await worker.find(ask(ASKED)))[0] is None
    worker.true = True
    assert (await worker.find(ask(ASKED)))[0] is None
    await worker.answer(KEPT, structs.replace(REPLY, model="new"))
    reply, _ = await worker.find(ask(ASKED))
    assert reply is not None
    assert reply.model == "new"


async def test_while_a_change_is_under_way_nothing_is_served(worker: Worker) -> None:
    await worker.answer(KEPT)
    call = await worker.begin(ask(ASKED))
    token = await worker.epochs.begin("acme", "help")
    trail = Trail(call=call, begun=0.0)
    assert await worker.layer.find(call, trail, worker.still_true) is None  # the call itself began before
    assert worker.grounded == []
    await worker.epochs.abandon("acme", "help", token)
    assert (await worker.find(ask(ASKED)))[0] == REPLY  # the question was not forgotten meanwhile


async def test_an_answer_past_its_end_is_not_served(worker: Worker) -> None:
    await worker.answer(KEPT)
    worker.clock.advance(101)
    assert (await worker.find(ask(ASKED)))[0] is None


async def test_an_evicted_answer_is_a_miss_and_its_question_forgotten(worker: Worker, cache_redis: Redis) -> None:
    await worker.answer(KEPT)
    await worker.find(ask(FAR))
    await worker.settle()  # what this worker wrote itself was read, and is not read again
    (name,) = await cache_redis.keys("py:x:*")
    await cache_redis.unlink(name)
    assert (await worker.find(ask(ASKED)))[0] is None
    _, trail = await worker.find(ask(ASKED))
    assert "similarity" not in trail.notes["semantic"]


async def test_flushed_redis_is_a_miss_and_learned_anew(worker: Worker, cache_redis: Redis) -> None:
    await worker.answer(KEPT)
    await cache_redis.flushall()
    assert (await worker.find(ask(ASKED)))[0] is None
    await worker.answer(KEPT)
    assert (await worker.find(ask(ASKED)))[0] == REPLY


async def test_killed_redis_is_a_miss(worker: Worker, cache_server: RedisServer) -> None:
    await worker.answer(KEPT)
    cache_server.kill()
    try:
        await let_the_loop_notice()
        assert (await worker.find(ask(ASKED)))[0] is None
    finally:
        cache_server.start()


async def test_two_tenants_who_ask_the_same_get_answers_of_their_own(worker: Worker) -> None:
    theirs = structs.replace(version(), tenant="other")
    await worker.answer(KEPT, structs.replace(REPLY, model="acme's"))
    await worker.answer(KEPT, structs.replace(REPLY, model="other's"), tenant="other", version=theirs)
    mine, _ = await worker.find(ask(ASKED))
    others, _ = await worker.find(ask(ASKED, tenant="other", version=theirs))
    assert mine is not None
    assert others is not None
    assert (mine.model, others.model) == ("acme's", "other's")


async def test_an_embedder_that_is_down_is_a_miss(worker: Worker) -> None:
    await worker.answer(KEPT)
    worker.embedder.failure = ProviderTimeout("slow", provider="p", model="m")
    reply, trail = await worker.find(ask(ASKED))
    assert reply is None
    notes = trail.notes["semantic"]
    assert notes | {"served": False, "why": "ProviderTimeout"} == notes


# --- pairs -----------------------------------------------------------------------------------------------------------


async def test_a_picked_candidate_becomes_a_pair_with_both_answers(worker: Worker) -> None:
    worker.told.verdict = None
    await worker.answer(KEPT)
    await worker.answer(ASKED, structs.replace(REPLY, message={"role": "assistant", "content": "Fresh."}))
    (pair,) = worker.pairs
    assert (pair.asked, pair.kept, pair.veto, pair.served) == (ASKED, KEPT, "", False)
    assert (pair.fresh_answer, pair.kept_answer, pair.probability) == ("Fresh.", "Within 30 days.", 1.0)
    assert pair.similarity == pytest.approx(0.95, abs=0.01)
    assert (pair.tenant, pair.prompt, pair.version) == ("acme", "help-centre", "1.0.0")
    assert pair.recipe.startswith("written-1:question:")


async def test_what_is_neither_served_nor_judged_is_not_looked_for(worker: Worker) -> None:
    quiet = version(mode=SemanticMode.SHADOW, judged_share=0.0)
    await worker.answer(KEPT, version=quiet)
    worker.embedder.asked.clear()
    _, trail = await worker.find(ask(ASKED, version=quiet))
    assert trail.notes["semantic"]["looked"] is False
    assert worker.embedder.asked == []
    serving = version(judged_share=0.0)  # one that serves looks for every question
    assert (await worker.find(ask(ASKED, version=serving)))[0] == REPLY


async def test_what_is_far_or_not_drawn_is_no_pair(worker: Worker) -> None:
    worker.told.verdict = None
    await worker.answer(KEPT)
    await worker.answer(FAR)
    await worker.answer(ASKED, version=version(judged_share=0.0))
    assert worker.pairs == []


async def test_a_kept_answer_that_could_not_have_been_served_is_no_pair(worker: Worker) -> None:
    worker.told.verdict = None
    await worker.answer(KEPT)
    await change_documents(worker)
    worker.true = False
    await worker.answer(ASKED)
    assert worker.pairs == []


async def test_served_hits_are_sampled_answered_anew_and_paired(worker: Worker) -> None:
    sampled = version(sampled_share=1.0)
    await worker.answer(KEPT, version=sampled)
    probes: list[Call] = []

    async def answer_anew(call: Call) -> None:
        probes.append(call)
        trail = Trail(call=call, begun=0.0)
        call = await worker.begin(call)
        assert await worker.layer.find(call, trail, worker.still_true) is None
        fresh = structs.replace(REPLY, message={"role": "assistant", "content": "Fresh."})
        assert await worker.cache.keep(call, fresh) == "kept"
        await worker.layer.learn(call, fresh, trail, worker.still_true)

    worker.layer.probes.answer = answer_anew
    reply, _ = await worker.find(ask(ASKED, version=sampled, key_id="key", user="u", stream=True))
    assert reply == REPLY
    await worker.settle()
    (probe,) = probes
    assert (probe.origin, probe.cache, probe.key_id, probe.user, probe.stream) == (
        Origin.PROBE,
        CacheMode.REFRESH,
        "",
        "",
        False,
    )
    (pair,) = worker.pairs
    assert (pair.id, pair.asked, pair.kept, pair.served) == (probe.id, ASKED, KEPT, True)
    assert (pair.fresh_answer, pair.kept_answer) == ("Fresh.", "Within 30 days.")


async def test_a_probe_that_fails_leaves_nothing_behind(worker: Worker) -> None:
    sampled = version(sampled_share=1.0)
    await worker.answer(KEPT, version=sampled)

    async def answer_anew(call: Call) -> None:
        raise ProviderTimeout("slow", provider="p", model="m")

    worker.layer.probes.answer = answer_anew
    for _ in range(10):
        assert (await worker.find(ask(ASKED, version=sampled)))[0] == REPLY
        await worker.settle()
    assert worker.pairs == []


# --- learning --------------------------------------------------------------------------------------------------------


async def test_a_question_is_learned_once_while_it_lives(worker: Worker, cache_redis: Redis) -> None:
    for _ in range(3):
        await worker.answer(KEPT)
    (part,) = await cache_redis.keys("py:s:*")
    assert await cache_redis.xlen(part) == 1
    worker.clock.advance(60)
    await worker.answer(KEPT)
    assert await cache_redis.xlen(part) == 2


@pytest.mark.parametrize("origin", [Origin.GATE, Origin.MIRROR, Origin.JUDGE])
async def test_answers_that_nobody_asked_for_are_not_learned(
    worker: Worker, cache_redis: Redis, origin: Origin
) -> None:
    await worker.answer(KEPT, origin=origin)
    assert await cache_redis.keys("py:s:*") == []


def test_the_index_lies_in_the_slot_of_the_answers() -> None:
    call = ask(KEPT)
    question = question_of(call, version(), "question", "written-1")
    assert question.part.startswith("py:s:{acme|help-centre@1.0.0}:")


# --- answers that speak for or against each other ---------------------------------------------------------------------


@pytest.mark.parametrize(("content", "served"), [("Within 30 days.", True), ("At any cash machine.", False)])
async def test_a_similar_question_with_another_answer_speaks_against_it(
    cache_redis: Redis, epochs: Epochs, cache: ExactCache, clock: ManualClock, content: str, served: bool
) -> None:
    disputing = "How do I get the money?"
    places = {**PLACES, disputing: beside(unit(16, 1), 0.92)}
    worker = make(cache_redis, epochs, cache, clock, embedder=WrittenEmbedder(places))
    await worker.answer(KEPT)
    await worker.answer(disputing, structs.replace(REPLY, message={"role": "assistant", "content": content}))
    reply, trail = await worker.find(ask(ASKED))
    assert (reply is not None) == served
    notes = trail.notes["semantic"]
    assert notes["similarity"] >= 0.95
    assert (notes["score"] >= notes["threshold"]) == served
