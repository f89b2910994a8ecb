"""Workers' own memories over one Redis: what was removed, or made from old documents, no worker serves."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from redis.asyncio import Redis

from gateway.cache import rules
from gateway.cache.cuts import Cuts
from gateway.cache.epochs import Epochs
from gateway.cache.exact import ExactCache, Lookup
from gateway.cache.keys import Scope, answer_key, entry_name
from gateway.cache.layered import LayeredCache
from gateway.cache.local import LocalEntries
from gateway.cache.trust import TrustedCuts
from gateway.clock import ManualClock
from gateway.types import CacheMode, CachePlace, CachePolicy, Call, Layer, LayerPolicy, Reply
from tests.gateway.cache.specimens import MANAGED, REPLY, VERSION

NEAR = CachePolicy(ttl=100.0, jitter=0.0, early_refresh=0.0, local=LayerPolicy(on=True, ttl=10.0), tags=("prices",))
ALONE = replace(NEAR, place=CachePlace.PROCESS)
ANOTHER = replace(REPLY, message={"role": "assistant", "content": "Within 14 days."})


def asked(policy: CachePolicy, **changes: object) -> Call:
    return replace(MANAGED, version=replace(VERSION, cache=policy), epoch="", cuts="", **changes)


@dataclass
class Worker:
    """One process: its memory, and how it answers as the pipeline does."""

    cache: LayeredCache
    epochs: Epochs

    async def find(self, call: Call) -> Lookup:
        epoch = self.epochs.current(call.tenant, call.collection) if call.collection else None
        return await self.cache.find(call, epoch)

    async def answer(self, call: Call, reply: Reply) -> str:
        """A miss that is made and kept, as the call began."""
        found = await self.find(call)
        return await self.cache.keep(replace(call, epoch=found.epoch, cuts=found.cuts), reply)

    async def layer(self, call: Call) -> str:
        """Who answers, or why nobody does."""
        found = await self.find(call)
        return str(found.layer) if found.reply is not None else found.reason


def trusting(state_redis: Redis, clock: ManualClock) -> TrustedCuts:
    """As each process has them: nobody sees what another one has read."""

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    return TrustedCuts(Cuts(state_redis, timeout=1.0), clock, sleep=sleep)


@pytest.fixture
def cuts(state_redis: Redis, clock: ManualClock) -> TrustedCuts:
    """Of whoever removes: a process of its own."""
    return trusting(state_redis, clock)


@pytest.fixture
def workers(cache_redis: Redis, state_redis: Redis, epochs: Epochs, clock: ManualClock) -> list[Worker]:
    return [
        Worker(
            LayeredCache(
                ExactCache(
                    cache_redis,
                    epochs,
                    clock=clock,
                    entropy=random.Random(7),
                    timeout=1.0,
                    cuts=trusting(state_redis, clock),
                ),
                LocalEntries(clock),
                clock,
            ),
            epochs,
        )
        for _ in range(2)
    ]


async def test_the_first_hit_is_of_redis_and_the_next_of_the_memory(workers: list[Worker]) -> None:
    first, second = workers
    call = asked(NEAR)
    assert await first.answer(call, REPLY) == "kept"
    assert [await second.layer(call) for _ in range(3)] == ["exact", "local", "local"]
    found = await first.find(call)
    assert (found.layer, found.local, found.reason) == (Layer.EXACT, "miss", "hit")
    found = await first.find(call)
    assert (found.layer, found.local, found.reply) == (Layer.LOCAL, "", REPLY)


async def test_a_prompt_that_does_not_want_it_gets_nothing_of_it(workers: list[Worker]) -> None:
    call = asked(replace(NEAR, local=LayerPolicy(on=False)))
    await workers[0].answer(call, REPLY)
    found = [await workers[0].find(call) for _ in range(3)]
    assert {(one.layer, one.local) for one in found} == {(Layer.EXACT, "")}
    assert len(workers[0].cache.local) == 0


@pytest.mark.parametrize("policy", [NEAR, ALONE], ids=["in front of Redis", "alone"])
@pytest.mark.parametrize(
    "removal", [{}, {"prompt": "help-centre"}, {"prompt": "help-centre", "version": "1.0.0"}, {"tag": "prices"}]
)
async def test_what_was_removed_no_worker_serves(
    workers: list[Worker], cuts: TrustedCuts, policy: CachePolicy, removal: dict[str, str]
) -> None:
    call = asked(policy)
    for worker in workers:
        await worker.answer(call, REPLY)
        for _ in range(2):
            await worker.find(call)
        assert await worker.layer(call) == "local"
    await cuts.cut(call.tenant, **removal)
    assert [await worker.layer(call) for worker in workers] == ["removed"] * 2
    await workers[0].answer(call, ANOTHER)
    assert (await workers[0].find(call)).reply == ANOTHER
    other = await workers[1].find(call)
    assert other.reply == (ANOTHER if policy is NEAR else None)


async def test_what_is_removed_under_another_name_stays(workers: list[Worker], cuts: TrustedCuts) -> None:
    call = asked(ALONE)
    await workers[0].answer(call, REPLY)
    await cuts.cut("other")
    await cuts.cut(call.tenant, prompt="another")
    await cuts.cut(call.tenant, tag="another")
    assert await workers[0].layer(call) == "local"


async def test_an_answer_that_was_being_made_while_it_was_removed_counts_nowhere(
    workers: list[Worker], cuts: TrustedCuts
) -> None:
    for policy in (NEAR, ALONE):
        call = asked(policy)
        begun = await workers[0].find(call)
        await cuts.cut(call.tenant, tag="prices")
        await workers[0].cache.keep(replace(call, epoch=begun.epoch, cuts=begun.cuts), REPLY)
        assert [(await worker.find(call)).reply for worker in workers] == [None, None]


@pytest.mark.parametrize("policy", [NEAR, ALONE], ids=["in front of Redis", "alone"])
async def test_after_a_change_of_documents_the_memory_is_a_candidate_at_most(
    workers: list[Worker], epochs: Epochs, policy: CachePolicy
) -> None:
    call = asked(policy)
    for worker in workers:
        await worker.answer(call, REPLY)
        await worker.find(call)
        assert await worker.layer(call) == "local"
    token = await epochs.begin(call.tenant, call.collection)
    assert [await worker.layer(call) for worker in workers] == ["epoch", "epoch"]
    await epochs.publish(call.tenant, call.collection, token)
    for worker in workers:
        found = await worker.find(call)
        assert (found.reply, found.reason) == (None, "epoch")
        if policy is ALONE:  # nobody could sweep it away if it were proved true again
            assert found.candidate is None
            assert len(worker.cache.local) == 0
        else:
            assert found.candidate is not None
            assert found.candidate.reply == REPLY


async def test_what_another_worker_made_true_again_is_taken_from_redis(workers: list[Worker], epochs: Epochs) -> None:
    first, second = workers
    call = asked(NEAR)
    await first.answer(call, REPLY)
    for worker in workers:
        await worker.find(call)
    await epochs.publish(call.tenant, call.collection, await epochs.begin(call.tenant, call.collection))
    await first.answer(call, ANOTHER)
    found = await second.find(call)
    assert (found.reply, found.layer, found.local) == (ANOTHER, Layer.EXACT, "epoch")
    assert (await second.find(call)).layer is Layer.LOCAL


async def test_a_worker_sees_its_own_new_answer_at_once_and_the_others_after_the_layers_time(
    workers: list[Worker], clock: ManualClock
) -> None:
    first, second = workers
    call = asked(NEAR)
    await first.answer(call, REPLY)
    for worker in workers:
        await worker.find(call)
    await first.answer(replace(call, cache=CacheMode.REFRESH), ANOTHER)
    assert (await first.find(call)).reply == ANOTHER
    clock.advance(NEAR.local.ttl)
    assert (await second.find(call)).reply == ANOTHER


async def test_the_end_of_an_answer_is_its_end_in_the_memory(workers: list[Worker], clock: ManualClock) -> None:
    long = replace(NEAR, local=LayerPolicy(on=True, ttl=1_000.0))
    for policy in (long, ALONE):
        call = asked(policy)
        await workers[0].answer(call, REPLY)
        await workers[0].find(call)
        clock.advance(policy.ttl - 1)
        assert await workers[0].layer(call) == "local"
        clock.advance(1)
        assert await workers[0].layer(call) in ("miss", "expired")


async def test_alone_means_that_redis_holds_nothing(workers: list[Worker], cache_redis: Redis) -> None:
    call = asked(ALONE)
    found = await workers[0].find(call)
    assert (found.layer, found.reason) == (Layer.LOCAL, "miss")
    await workers[0].answer(call, REPLY)
    assert await cache_redis.dbsize() == 0
    assert [await worker.layer(call) for worker in workers] == ["local", "miss"]
    assert await workers[0].layer(replace(call, tenant="other")) == "miss"


async def test_alone_the_last_good_answer_stands_in_for_its_time(workers: list[Worker], clock: ManualClock) -> None:
    call = asked(replace(ALONE, stale_for=50.0))
    await workers[0].answer(call, REPLY)
    clock.advance(120)
    found = await workers[0].find(call)
    assert found.reason == "expired"
    good = await workers[0].cache.last_good(replace(call, epoch=found.epoch, cuts=found.cuts))
    assert good is not None
    assert good.reply == REPLY
    assert await workers[1].cache.last_good(replace(call, epoch=found.epoch, cuts=found.cuts)) is None


async def test_what_the_memory_does_not_hold_is_said(workers: list[Worker]) -> None:
    large = replace(REPLY, message={"role": "assistant", "content": "x" * 5_000_000})
    assert await workers[0].answer(asked(ALONE), large) == rules.LARGE


async def test_what_may_not_be_read_is_not_taken_from_the_memory_either(workers: list[Worker]) -> None:
    for policy in (NEAR, ALONE):
        call = asked(policy)
        await workers[0].answer(call, REPLY)
        await workers[0].find(call)
        for mode in (CacheMode.BYPASS, CacheMode.REFRESH):
            assert await workers[0].layer(replace(call, cache=mode)) == "bypass"
        assert await workers[0].layer(replace(call, evidence=True)) == "evidence"


class Lost:
    """Cuts while the state Redis is away."""

    async def current(self, tenant: str, prompt: str = "", version: str = "", tags: Sequence[str] = ()) -> str:
        return ""


async def test_without_the_state_redis_the_memory_is_silent(
    workers: list[Worker], cache_redis: Redis, epochs: Epochs, clock: ManualClock
) -> None:
    memory = workers[0].cache.local
    exact = ExactCache(cache_redis, epochs, clock=clock, entropy=random.Random(7), timeout=1.0, cuts=Lost())
    lost = Worker(LayeredCache(exact, memory, clock), epochs)
    for policy in (NEAR, ALONE):
        call = asked(policy)
        await workers[0].answer(call, REPLY)
        await workers[0].find(call)
        assert await lost.layer(call) == "epoch"


async def test_another_tenants_bytes_under_ones_name_are_not_served(workers: list[Worker]) -> None:
    call = asked(ALONE)
    await workers[0].answer(call, REPLY)
    mine = entry_name(Scope.of(call), answer_key(call))
    other = replace(call, tenant="other")
    stolen = workers[0].cache.local.get(mine)
    assert stolen is not None
    workers[0].cache.local.put(entry_name(Scope.of(other), answer_key(other)), stolen, 60)
    assert await workers[0].layer(other) == "miss"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "cut tenant", "cut tag", "change", "wait", "restart"]),
        st.integers(0, 1),
        st.sampled_from(["acme", "other"]),
        st.booleans(),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_sequence_serves_what_was_removed_or_changed(
    workers: list[Worker],
    cuts: TrustedCuts,
    epochs: Epochs,
    clock: ManualClock,
    steps: list[tuple[str, int, str, bool]],
) -> None:
    """Every answer names the state of the world that it was made in: only in that state is it served."""
    state = dict.fromkeys(("acme", "other"), 0)
    for worker in workers:
        worker.cache.local.clear()
    for tenant in state:
        await cuts.cut(tenant)
    for step, number, tenant, alone in steps:
        worker, call = workers[number], asked(ALONE if alone else NEAR, tenant=tenant)
        if step == "ask":
            found = await worker.find(call)
            made = f"{tenant} {state[tenant]}"
            if found.reply is not None:
                assert found.reply.text == made
            else:
                reply = replace(REPLY, message={"role": "assistant", "content": made})
                await worker.cache.keep(replace(call, epoch=found.epoch, cuts=found.cuts), reply)
        elif step == "wait":
            clock.advance(4.0)
        elif step == "restart":
            worker.cache.local.clear()
        else:
            if step == "change":
                await epochs.publish(tenant, call.collection, await epochs.begin(tenant, call.collection))
            else:
                await cuts.cut(tenant, tag="prices" if step == "cut tag" else "")
            state[tenant] += 1
