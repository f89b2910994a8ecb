"""A release's candidate is asked behind the users' backs: they notice nothing, whatever comes of it."""

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec import structs

from gateway.clock import ManualClock
from gateway.errors import (
    BudgetExhausted,
    ChainExhausted,
    ProviderOverloaded,
    ProviderRejectedRequest,
)
from gateway.ledger.records import call_record
from gateway.mirroring import MOST_RUNNING_EACH, MOST_WAITING_EACH, PAUSE, Mirroring, mirrored
from gateway.prompts.mirrors import Mirrors, drawn
from gateway.prompts.router import Router
from gateway.types import (
    CANARY,
    STABLE,
    Answer,
    Arm,
    Attempt,
    CacheMode,
    Call,
    Completion,
    KeyLimits,
    Mirror,
    ModelRef,
    Origin,
    Reply,
    Route,
    RoutingTable,
    Variable,
)
from tests.gateway.test_pipeline import NEXT, VERSION, World, ask, pipeline, reply, wants

MIRROR = Mirror(version=NEXT, share=10_000, release="rel_1", salt="s")
LIVE = ask(user="ada", key_id="key_1", limits=KeyLimits(requests_per_minute=1, daily_budget_usd=0.5))


def table(mirror: Mirror = MIRROR, stable: Any = VERSION) -> RoutingTable:
    return RoutingTable(1, (Route(tenant="acme", prompt="help", arms=(Arm(STABLE, stable, 10_000),), mirror=mirror),))


class TwoSided(World):
    """A world whose provider does to mirrored calls what ``candidate`` says."""

    def __init__(self, candidate: Reply | Exception | asyncio.Event | None = None) -> None:
        super().__init__()
        self.candidate = candidate
        self.mirrored: list[Completion] = []
        self.arrived: asyncio.Queue[Completion] = asyncio.Queue()

    async def complete(self, request: Completion) -> Reply:
        if not request.unheard:
            return await super().complete(request)
        self.mirrored.append(request)
        self.arrived.put_nowait(request)
        if isinstance(self.candidate, asyncio.Event):
            await self.candidate.wait()
        if isinstance(self.candidate, Exception):
            raise self.candidate
        return self.candidate if isinstance(self.candidate, Reply) else reply("from the candidate")

    def answers(self) -> list[Answer]:
        return [record for kind, record in self.records if kind == "answered"]


async def test_the_candidate_is_asked_the_same_and_nobody_pays_for_it() -> None:
    world = TwoSided()
    answering = pipeline(world, table())
    answer = await answering.answer(LIVE)
    assert answer.reply.text == "answer 1"
    await answering.mirroring.settle()
    live, other = world.answers()
    call = other.call
    assert (call.origin, call.mirrors, call.release) == (Origin.MIRROR, live.call.id, "rel_1")
    assert (call.version, call.key_id, call.limits.daily_budget_usd) == (NEXT, "", None)
    assert (call.evidence, call.arm, live.call.release, live.call.evidence) == (False, "", "", False)
    (request,) = world.mirrored
    assert request.messages == world.asked[0].messages
    assert (len(request.chain), request.background) == (1, False), "what a fallback says is no evidence"
    record = call_record(other, content=True)
    assert (record.origin, record.mirrors, record.version) == ("mirror", live.call.id, "1.1.0")


async def test_what_the_candidate_says_is_in_no_cache_and_reads_none() -> None:
    world = TwoSided()
    answering = pipeline(world, table())
    await answering.answer(LIVE)
    await answering.mirroring.settle()
    await answering.settle()
    assert [kept[0].text for kept in world.kept.values()] == ["answer 1"]
    assert world.answers()[1].call.cache is CacheMode.BYPASS


async def test_a_user_does_not_wait_for_a_candidate_that_hangs() -> None:
    hangs = asyncio.Event()
    world = TwoSided(hangs)
    answering = pipeline(world, table())
    async with asyncio.timeout(5):
        await answering.answer(LIVE)
        pieces = [piece async for piece in answering.stream(structs.replace(LIVE, id="call_2", cache=CacheMode.BYPASS))]
    assert isinstance(pieces[-1], Answer)
    async with asyncio.timeout(5):
        for _ in range(2):
            await world.arrived.get()
    assert [one.call.origin for one in world.answers()] == [Origin.LIVE, Origin.LIVE]
    hangs.set()
    await answering.mirroring.settle()
    assert Counter(one.call.mirrors for one in world.answers()) == {"": 2, "call_1": 1, "call_2": 1}


async def test_a_gateway_that_stops_gives_the_candidate_up_and_has_the_users_answer() -> None:
    world = TwoSided(asyncio.Event())
    answering = pipeline(world, table())
    await answering.answer(LIVE)
    async with asyncio.timeout(5):
        await world.arrived.get()
    await answering.mirroring.stop()
    assert [kind for kind, _ in world.records] == ["answered", "failed"]
    assert world.records[1][1] == "client_gone"
    assert len(answering.mirroring) == 0


@pytest.mark.parametrize("error", [ProviderRejectedRequest("no"), ChainExhausted("down")])
async def test_a_candidate_that_fails_is_recorded_and_the_user_does_not_hear_of_it(error: Exception) -> None:
    world = TwoSided(error)
    answering = pipeline(world, table())
    assert (await answering.answer(LIVE)).reply.text == "answer 1"
    await answering.mirroring.settle()
    assert world.records[1] == ("failed", getattr(error, "code", ""))
    assert world.trails[0].call.mirrors == "call_1"


async def test_a_request_that_was_refused_for_what_it_says_is_a_pair_too() -> None:
    world = TwoSided()
    world.replies = [ProviderRejectedRequest("no")]
    answering = pipeline(world, table())
    with pytest.raises(ProviderRejectedRequest):
        await answering.answer(LIVE)
    await answering.mirroring.settle()
    assert [kind for kind, _ in world.records] == ["failed", "answered"]
    assert len(world.mirrored) == 1


async def test_a_candidate_that_needs_more_than_callers_give_fails() -> None:
    needy = structs.replace(NEXT, variables=(*NEXT.variables, Variable("plan")))
    world = TwoSided()
    answering = pipeline(world, table(structs.replace(MIRROR, version=needy)))
    await answering.answer(LIVE)
    await answering.mirroring.settle()
    assert world.records[1] == ("failed", "missing_variable")


@pytest.mark.parametrize(
    "changes",
    [{"user": ""}, {"pinned": "1.0.0"}, {"origin": Origin.GATE}, {"params": {"personal": True}}, {"personal": True}],
    ids=["no user", "pinned", "not live", "personal by its body", "personal by its options"],
)
async def test_whose_calls_are_not_mirrored(changes: dict[str, Any]) -> None:
    world = TwoSided()
    answering = pipeline(world, table())
    await answering.answer(structs.replace(LIVE, **changes))
    await answering.mirroring.settle()
    assert world.mirrored == []


async def test_what_the_cache_answered_or_a_fallback_said_is_not_mirrored() -> None:
    world = TwoSided()
    answering = pipeline(world, table())
    await answering.answer(LIVE)
    await answering.mirroring.settle()
    await answering.settle()
    await answering.answer(structs.replace(LIVE, id="call_2"))
    fallen = structs.replace(reply(), attempts=(Attempt("anthropic", "other", 1.0, "provider_error"),))
    world.replies = [fallen]
    await answering.answer(structs.replace(LIVE, id="call_3", cache=CacheMode.BYPASS))
    await answering.mirroring.settle()
    assert [one.call_id for one in world.asked] == ["call_1", "call_3"]
    assert len(world.mirrored) == 1


async def test_what_the_candidate_cost_before_its_money_was_spent_is_in_the_ledger() -> None:
    class Purse(TwoSided):
        async def reserve(self, call: Call) -> str:
            if call.origin is Origin.MIRROR and self.mirrored:
                raise BudgetExhausted("the day's money is spent")
            return await super().reserve(call)

    world = Purse(wants("clock"))
    answering = pipeline(world, table(structs.replace(MIRROR, version=structs.replace(NEXT, tools=("clock",)))))
    await answering.answer(LIVE)
    await answering.mirroring.settle()
    assert [kind for kind, _ in world.records] == ["answered", "failed"]
    assert (world.trails[0].call.origin, world.trails[0].cost().usd) == (Origin.MIRROR, Decimal("0.5"))


@pytest.mark.parametrize(("tool", "asked"), [("dice", 0), ("clock", 1)])
async def test_tools_that_do_something_do_not_run_behind_a_users_back(tool: str, asked: int) -> None:
    world = TwoSided()
    answering = pipeline(world, table(structs.replace(MIRROR, version=structs.replace(NEXT, tools=(tool,)))))
    await answering.answer(LIVE)
    await answering.mirroring.settle()
    assert len(world.mirrored) == asked


def mirroring(make: Any, counted: Counter[str], clock: ManualClock | None = None, **bounds: Any) -> Mirroring:
    return Mirroring(
        make,
        lambda call: True,
        clock=clock or ManualClock(),
        count=lambda outcome: counted.update([str(outcome)]),
        **bounds,
    )


async def test_the_queue_is_bounded_and_what_is_too_much_is_counted() -> None:
    go, at_once, most = asyncio.Event(), 0, 0

    async def make(call: Call) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await go.wait()
        await asyncio.sleep(0)
        at_once -= 1

    counted: Counter[str] = Counter()
    mirrors = mirroring(make, counted, most_running=2, most_waiting=3)
    begun = [mirrors.begin(structs.replace(LIVE, id=f"call_{number}"), MIRROR) for number in range(10)]
    assert (begun, len(mirrors)) == ([True] * 5 + [False] * 5, 5)
    go.set()
    await mirrors.settle()
    assert (counted, most) == ({"full": 5, "answered": 5}, 2)


async def test_a_candidate_that_hangs_leaves_places_to_those_of_others() -> None:
    asked: list[str] = []
    go = asyncio.Event()

    async def make(call: Call) -> None:
        asked.append(call.prompt)
        if call.prompt == LIVE.prompt:
            await go.wait()

    counted: Counter[str] = Counter()
    mirrors = mirroring(make, counted)
    hanging = [mirrors.begin(structs.replace(LIVE, id=f"call_{number}"), MIRROR) for number in range(40)]
    assert sum(hanging) == MOST_RUNNING_EACH + MOST_WAITING_EACH
    for number in range(5):
        assert mirrors.begin(structs.replace(LIVE, id=f"other_{number}", prompt="another"), ANOTHER)
    for _ in range(20):
        await asyncio.sleep(0)
    assert Counter(asked) == {LIVE.prompt: MOST_RUNNING_EACH, "another": 5}
    go.set()
    await mirrors.settle()
    assert counted == {"answered": MOST_RUNNING_EACH + MOST_WAITING_EACH + 5, "full": 40 - sum(hanging)}


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    async def make(call: Call) -> None:
        await asyncio.Event().wait()

    counted: Counter[str] = Counter()
    mirrors = mirroring(make, counted, time_out=0.01)
    mirrors.begin(LIVE, MIRROR)
    await mirrors.settle()
    assert counted == {"timed_out": 1}


@pytest.mark.parametrize(
    ("error", "told", "pauses"),
    [
        (ProviderOverloaded("x"), "failed", True),
        (BudgetExhausted("x"), "budget", True),
        (ProviderRejectedRequest("x"), "failed", False),
        (ValueError("x"), "failed", False),
    ],
)
async def test_an_outage_and_an_empty_purse_pause_it(error: Exception, told: str, pauses: bool) -> None:
    async def make(call: Call) -> None:
        raise error

    counted: Counter[str] = Counter()
    clock = ManualClock()
    mirrors = mirroring(make, counted, clock)
    mirrors.begin(LIVE, MIRROR)
    await mirrors.settle()
    assert mirrors.begin(LIVE, MIRROR) is not pauses
    await mirrors.settle()
    clock.advance(PAUSE)
    assert mirrors.begin(LIVE, MIRROR)
    await mirrors.settle()
    assert counted == ({told: 2, "paused": 1} if pauses else {told: 3})


OF_OTHERS = structs.replace(MIRROR, version=structs.replace(NEXT, tenant="other"))
ELSEWHERE = structs.replace(MIRROR, version=structs.replace(NEXT, chain=(ModelRef("anthropic", "other"),)))
ANOTHER = structs.replace(MIRROR, version=structs.replace(NEXT, name="another"))


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (ProviderOverloaded("x"), {"theirs": False, "elsewhere": True, "another": False}),
        (BudgetExhausted("x"), {"theirs": True, "elsewhere": False, "another": True}),
    ],
)
async def test_nobody_pauses_for_what_is_not_theirs(error: Exception, goes_on: dict[str, bool]) -> None:
    """An outage is a provider's, and an empty purse that of one prompt: other mirrors go on, those that wait too."""
    asked: list[str] = []
    go = asyncio.Event()

    async def make(call: Call) -> None:
        asked.append(call.mirrors)
        if call.mirrors == "first":
            await go.wait()
            raise error

    def live(name: str, mirror: Mirror) -> Call:
        return structs.replace(LIVE, id=name, tenant=mirror.version.tenant, prompt=mirror.version.name)

    others = {"theirs": OF_OTHERS, "elsewhere": ELSEWHERE, "another": ANOTHER}
    mirrors = mirroring(make, Counter(), most_running=1)
    mirrors.begin(live("first", MIRROR), MIRROR)
    for name, mirror in others.items():
        assert mirrors.begin(live(name, mirror), mirror)
    go.set()
    await mirrors.settle()
    went_on = [name for name, goes in goes_on.items() if goes]
    assert asked == ["first", *went_on]
    begun = {name: mirrors.begin(live(f"{name} again", mirror), mirror) for name, mirror in others.items()}
    assert begun == goes_on
    await mirrors.settle()


def test_the_drawn_share_is_the_declared_one_and_fixed() -> None:
    tenth = structs.replace(MIRROR, share=1_000)
    calls = [f"call_{number}" for number in range(5_000)]
    chosen = [call for call in calls if drawn(tenth, call)]
    assert 400 < len(chosen) < 600
    assert chosen == [call for call in calls if drawn(tenth, call)]
    assert all(drawn(structs.replace(MIRROR, share=2_000), call) for call in chosen), "a larger share adds calls"


def test_a_new_table_ends_a_mirror_at_once() -> None:
    router = Router(table())
    mirrors = Mirrors(router)
    call = router.route(LIVE)
    assert mirrors.of(call) is MIRROR
    router.swap(structs.replace(table(), revision=2, routes=(structs.replace(table().routes[0], mirror=None),)))
    assert mirrors.of(call) is None
    both = (Arm(STABLE, VERSION, 5_000), Arm(CANARY, NEXT, 5_000))
    router.swap(RoutingTable(3, (Route(tenant="acme", prompt="help", arms=both, mirror=MIRROR),)))
    assert mirrors.of(structs.replace(call, version=NEXT)) is None, "it is the candidate's own answer"


def test_a_table_from_before_there_were_mirrors_still_loads() -> None:
    old = msgspec.to_builtins(table())
    del old["routes"][0]["mirror"]
    assert msgspec.convert(old, RoutingTable).routes[0].mirror is None
    again = msgspec.json.decode(msgspec.json.encode(table()), type=RoutingTable)
    assert again.routes[0].mirror == MIRROR


def test_a_mirrored_call_keeps_what_was_asked_and_nothing_of_whose_it_was() -> None:
    call = mirrored(structs.replace(LIVE, messages=({"role": "user", "content": "Hi"},)), MIRROR, ManualClock(5.0))
    assert (call.messages, call.variables, call.tenant) == (
        ({"role": "user", "content": "Hi"},), {"question": "How long?"}, "acme"
    )  # fmt: skip
    assert call.id != LIVE.id
    assert (call.stream, call.received_at) == (False, 5.0)
