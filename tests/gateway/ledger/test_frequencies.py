"""How often which question is asked: decayed, bounded, live calls only, and never in anybody's way."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable
from gateway.ledger.frequencies import HALF_LIFE, KEPT_FOR, MAX_BYTES, Asked, Frequencies, asked_in, tally
from gateway.ledger.lines import encode_line
from gateway.ledger.question_counter import QuestionCounter
from gateway.ledger.records import CALL, SCORE, call_record, score_record
from gateway.ledger.writer import LedgerWriter
from gateway.storage.engine import writing
from gateway.storage.models import PromptVersionRow
from gateway.storage.redis_store import connect
from gateway.types import Origin, PromptVersion
from tests.gateway.ledger.ledger_values import answer, call, spool_at
from tests.servers import STATE_ROLE, RedisServer, start_redis

DAY = 86_400.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("counts-redis"), *STATE_ROLE)
    yield server
    server.stop()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with connect(server.url, timeout=5.0, connections=2, guarded=True) as redis:
        await redis.flushall()
        yield redis


def asked(text: str, at: float, **changes: Any) -> Asked:
    values: dict[str, Any] = {
        "tenant": "acme",
        "prompt": "help",
        "version": "1.0.0",
        "variables": {"question": text},
        "question": text,
        "started_at": at,
    }
    return Asked(**(values | changes))


async def add(counts: Frequencies, clock: ManualClock, *questions: str) -> None:
    await counts.add(tally([asked(one, clock.now()) for one in questions], clock.now()))


async def top(counts: Frequencies, number: int = 10) -> dict[str, float]:
    return {one.variables["question"]: one.weight for one in await counts.top("acme", "help", number)}


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"question": None}, True),
        ({"origin": Origin.WARM}, False),
        ({"origin": Origin.GATE}, False),
        ({"origin": Origin.JOB}, False),
        ({"status": "failed"}, False),
        ({"cache_reason": "bypass"}, False),  # personal: what is warmed is in the cache
        ({"cache_reason": "evidence"}, True),
        ({"kind": "embedding"}, False),
        ({"prompt": ""}, False),
        ({"variables": None}, False),
        ({"question": "And in Norway?"}, False),  # a message that followed the template
        ({"variables": {"a": "1", "b": "2"}, "question": "a: 1\nb: 2"}, True),
    ],
)
def test_only_what_live_users_can_be_asked_again_counts(changes: dict[str, Any], counts: bool) -> None:
    assert asked("Why?", 0.0, **changes).counts is counts


def test_what_the_spool_holds_is_read() -> None:
    lines = [
        encode_line(CALL, call_record(answer(call(version=_version(), variables={"question": "Why?"})), content=True)),
        encode_line(CALL, call_record(answer(call(origin=Origin.JUDGE)), content=True)),
        encode_line(SCORE, score_record("call_1", "acme", "helpful", "feedback", 0.5, 2.0)),
        b"torn",
    ]
    (found,) = asked_in(lines)
    assert (found.tenant, found.prompt, found.version, found.variables) == (
        "acme",
        "help",
        "1.0.0",
        {"question": "Why?"},
    )


async def test_an_old_favourite_is_overtaken(redis: Redis, clock: ManualClock) -> None:
    counts = Frequencies(redis, clock, timeout=5.0)
    await add(counts, clock, *["old"] * 8, "both")
    clock.advance(2 * HALF_LIFE)
    await add(counts, clock, "new", "new", "new", "both")
    assert await top(counts) == pytest.approx({"new": 3.0, "old": 2.0, "both": 1.25})
    assert list(await top(counts, 1)) == ["new"]
    assert await counts.top("acme", "help", 0) == []
    assert await counts.top("another", "help", 10) == []


async def test_what_comes_late_counts_as_of_when_it_was_asked(redis: Redis, clock: ManualClock) -> None:
    counts = Frequencies(redis, clock, timeout=5.0)
    late = [asked("late", clock.now() - HALF_LIFE)] * 2 + [asked("clock runs ahead", clock.now() + DAY)]
    await counts.add(tally(late, clock.now()))
    assert await top(counts) == pytest.approx({"late": 1.0, "clock runs ahead": 1.0})


async def test_scores_stay_numbers_over_decades(redis: Redis, clock: ManualClock) -> None:
    counts = Frequencies(redis, clock, timeout=5.0)
    for _ in range(1500):  # eight years of one call each half life: 2^1500 is no double
        clock.advance(HALF_LIFE)
        await add(counts, clock, "always")
    assert await top(counts) == pytest.approx({"always": 2.0})


async def test_the_least_asked_go(redis: Redis, clock: ManualClock) -> None:
    counts = Frequencies(redis, clock, timeout=5.0, most=3)
    await add(counts, clock, "a", "a", "b", "b", "c")
    clock.advance(DAY)
    await add(counts, clock, "d", "x" * MAX_BYTES)
    assert list(await top(counts)) == ["b", "a", "d"]
    for key in await redis.keys("py:{asked*"):
        assert 0 < await redis.ttl(key) <= KEPT_FOR


async def test_tenants_and_prompts_are_apart(redis: Redis, clock: ManualClock) -> None:
    counts = Frequencies(redis, clock, timeout=5.0)
    others = [asked("theirs", clock.now(), tenant="acme/help"), asked("other", clock.now(), prompt="other")]
    await counts.add(tally([asked("mine", clock.now()), *others], clock.now()))
    assert list(await top(counts)) == ["mine"]


async def test_without_redis_it_says_so(clock: ManualClock) -> None:
    async with connect("redis://127.0.0.1:1/0", timeout=1.0, connections=1) as nobody:
        counts = Frequencies(nobody, clock, timeout=1.0)
        with pytest.raises(StorageUnavailable):
            await counts.top("acme", "help", 1)
        with pytest.raises(StorageUnavailable):
            await add(counts, clock, "a")


@given(st.lists(st.floats(0, 30 * DAY), min_size=1, max_size=30))
def test_the_order_of_two_questions_does_not_change_with_time(ages: list[float]) -> None:
    """What forward decay is for: a later look divides all counts by the same."""
    records = [asked("ab"[place % 2], 31 * DAY - age) for place, age in enumerate(ages)]
    now, later = (tally(records, at)["acme", "help"] for at in (31 * DAY, 41 * DAY))
    for member, count in now.items():
        assert later[member] == pytest.approx(count * 2.0 ** (-10 * DAY / HALF_LIFE))


def _version(name: str = "help", *, personal: bool = False) -> PromptVersion:
    return PromptVersion(
        tenant="acme", name=name, version="1.0.0", digest="d", template=(), chain=(), personal=personal
    )


async def test_the_writer_counts_what_it_ships_but_nothing_personal(
    ledger_url: str, open_engine: Callable[..., Engine], tmp_path: Path, redis: Redis, clock: ManualClock
) -> None:
    engine = open_engine(ledger_url)
    with writing(engine) as session:
        for name, personal in (("help", False), ("diary", True)):
            session.add(
                PromptVersionRow(
                    tenant="acme",
                    name=name,
                    version="1.0.0",
                    digest="d",
                    bundle={"personal": personal, "template": []},
                    spec={},
                    created_at=0.0,
                )
            )
    spool = spool_at(tmp_path)
    for number, name in enumerate(("help", "diary", "unknown", "help")):
        one = call(f"call_{number}", prompt=name, version=_version(name), variables={"question": "Why?"})
        spool.append(CALL, call_record(answer(one), content=True))
    counts = Frequencies(redis, clock, timeout=5.0)
    counter = QuestionCounter(engine, counts, clock)
    with LedgerWriter(engine, tmp_path, clock, shipped=counter.note) as writer:
        assert writer.ship() == 4
        assert await counter.send() == 2
        assert writer.ship() == 0
        assert await counter.send() == 0
    assert {key.decode() for key in await redis.keys("py:{asked*counts")} == {"py:{asked:acme/help}:counts"}
    assert list(await top(counts)) == ["Why?"]


async def test_without_redis_nothing_is_held_up(
    ledger_url: str, open_engine: Callable[..., Engine], clock: ManualClock
) -> None:
    async with connect("redis://127.0.0.1:1/0", timeout=1.0, connections=1) as nobody:
        engine = open_engine(ledger_url)
        counter = QuestionCounter(engine, Frequencies(nobody, clock, timeout=1.0), clock)
        line = encode_line(CALL, call_record(answer(call(version=_version(), variables={"q": "Why?"})), content=True))
        counter.note([line])
        assert await counter.send() == 0
