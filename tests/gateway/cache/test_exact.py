import asyncio
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from gateway.cache import rules
from gateway.cache.entry import MAGIC, decode
from gateway.cache.epochs import Epochs
from gateway.cache.exact import FALLBACK_TTL, ExactCache, Lookup
from gateway.cache.keys import Scope, answer_key, entry_name
from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable
from gateway.storage.redis_store import connect
from gateway.types import Attempt, CacheMode, CachePolicy, Call, ModelRef, Reply
from tests.gateway.cache.specimens import MANAGED, RAW, RAW_REPLY, REPLY, VERSION
from tests.servers import CACHE_ROLE, RedisServer, start_redis


@pytest.fixture
async def managed(epochs: Epochs) -> Call:
    """A call that begins under the current epoch."""
    return replace(MANAGED, epoch=await epochs.current("acme", "help"))


def policy(call: Call, **changes: Any) -> Call:
    assert call.version is not None
    return replace(call, version=replace(call.version, cache=replace(call.version.cache, **changes)))


async def stored(redis: Redis, call: Call) -> bytes | None:
    value = await redis.get(entry_name(Scope.of(call), answer_key(call)))
    return value.encode() if isinstance(value, str) else value


async def test_a_kept_answer_is_found_again_as_it_was(cache: ExactCache, managed: Call) -> None:
    assert await cache.find(managed) == Lookup(None, "miss", managed.epoch)
    assert await cache.keep(managed, REPLY) == "kept"
    found = await cache.find(managed)
    assert (found.reply, found.reason, found.epoch) == (REPLY, "hit", managed.epoch)


async def test_a_grounded_call_is_kept_under_the_key_it_was_looked_up_by(cache: ExactCache, managed: Call) -> None:
    grounded = replace(managed, rendered=({"role": "user", "content": "grounded"},), query="money")
    await cache.keep(grounded, REPLY)
    assert (await cache.find(managed)).reply == REPLY


async def test_an_answer_with_tool_calls_survives_the_round_trip(cache: ExactCache) -> None:
    tool_call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.5}'}}
    reply = replace(
        RAW_REPLY, finish_reason="tool_calls", message={"role": "assistant", "content": None, "tool_calls": [tool_call]}
    )
    assert await cache.keep(RAW, reply) == "kept"
    assert (await cache.find(RAW)).reply == reply


async def test_tenants_and_versions_do_not_meet(cache: ExactCache, epochs: Epochs, managed: Call) -> None:
    await cache.keep(managed, REPLY)
    other = replace(managed, tenant="other", epoch=await epochs.current("other", "help"))
    newer = replace(managed, version=replace(VERSION, version="1.0.1"))
    assert (await cache.find(other)).reason == "miss"
    assert (await cache.find(newer)).reason == "miss"


# --- what is never stored ----------------------------------------------------------------------------------------

REFUSALS: dict[str, tuple[Call, Reply, str]] = {
    "cut off": (MANAGED, replace(REPLY, finish_reason="length"), rules.INCOMPLETE),
    "no finish reason": (MANAGED, replace(REPLY, finish_reason=""), rules.INCOMPLETE),
    "an error": (MANAGED, replace(REPLY, finish_reason="error"), rules.INCOMPLETE),
    "filtered": (MANAGED, replace(REPLY, finish_reason="content_filter"), rules.REFUSED),
    "refused": (MANAGED, replace(REPLY, message={"role": "assistant", "refusal": "No."}), rules.REFUSED),
    "no content": (MANAGED, replace(REPLY, message={"role": "assistant", "content": None}), rules.EMPTY),
    "blank": (MANAGED, replace(REPLY, message={"role": "assistant", "content": " \n"}), rules.EMPTY),
    "bypass": (replace(MANAGED, cache=CacheMode.BYPASS), REPLY, rules.BYPASS),
    "evidence": (replace(MANAGED, evidence=True), REPLY, rules.EVIDENCE),
    "a personal prompt": (replace(MANAGED, version=replace(VERSION, personal=True)), REPLY, rules.PERSONAL),
    "a personal call": (replace(MANAGED, params={"temperature": 0, "personal": True}), REPLY, rules.PERSONAL),
    "switched off": (policy(MANAGED, exact=False), REPLY, rules.OFF),
    "no time to live": (policy(MANAGED, ttl=0.0), REPLY, rules.OFF),
    "above zero": (replace(MANAGED, params={"temperature": 0.01}), REPLY, rules.TEMPERATURE),
    "temperature that is no number": (replace(MANAGED, params={"temperature": "0"}), REPLY, rules.TEMPERATURE),
    "temperature False": (replace(MANAGED, params={"temperature": False}), REPLY, rules.TEMPERATURE),
    "the spec above zero": (
        replace(MANAGED, params={}, version=replace(VERSION, params={"temperature": 1})),
        REPLY,
        rules.TEMPERATURE,
    ),
    "no temperature anywhere": (replace(MANAGED, params={}, version=replace(VERSION, params={})), REPLY, "temperature"),
    "raw without temperature": (replace(RAW, params={}), RAW_REPLY, rules.TEMPERATURE),
    "raw above zero": (replace(RAW, params={"temperature": 1}), RAW_REPLY, rules.TEMPERATURE),
    "epoch unknown": (replace(MANAGED, epoch=""), REPLY, rules.EPOCH),
    "epoch passed": (replace(MANAGED, epoch="long.gone"), REPLY, rules.EPOCH),
    "documents without a collection": (replace(MANAGED, collection=""), REPLY, rules.EPOCH),
    "a lone surrogate": (replace(RAW, messages=({"role": "user", "content": "\ud800"},)), RAW_REPLY, "unencodable"),
}


@pytest.mark.parametrize(("call", "reply", "reason"), REFUSALS.values(), ids=list(REFUSALS))
async def test_never_stored(
    cache: ExactCache, cache_redis: Redis, managed: Call, call: Call, reply: Reply, reason: str
) -> None:
    if call.epoch == MANAGED.epoch:  # only the row's own flaw may be in the way
        call = replace(call, epoch=managed.epoch)
    assert await cache.keep(call, reply) == reason
    assert await cache_redis.dbsize() == 0


ALLOWED: dict[str, Call] = {
    "temperature 0": MANAGED,
    "temperature 0.0": replace(MANAGED, params={"temperature": 0.0}),
    "the spec's temperature": replace(MANAGED, params={}),
    "above zero, if the prompt asks for it": policy(replace(MANAGED, params={"temperature": 1}), above_zero=True),
    "refreshed": replace(MANAGED, cache=CacheMode.REFRESH),
    "raw above zero, if the caller asks for it": replace(RAW, params={"temperature": 1}, cache=CacheMode.REFRESH),
    "streamed": replace(MANAGED, stream=True),
}


@pytest.mark.parametrize("call", ALLOWED.values(), ids=list(ALLOWED))
async def test_stored(cache: ExactCache, managed: Call, call: Call) -> None:
    raw = call.version is None
    call = call if raw else replace(call, epoch=managed.epoch)
    assert await cache.keep(call, RAW_REPLY if raw else REPLY) == "kept"


READS: dict[str, tuple[Call, str]] = {
    "bypass": (replace(MANAGED, cache=CacheMode.BYPASS), "bypass"),
    "refresh": (replace(MANAGED, cache=CacheMode.REFRESH), "bypass"),
    "evidence": (replace(MANAGED, evidence=True), "evidence"),
    "personal": (replace(MANAGED, version=replace(VERSION, personal=True)), "personal"),
    "off": (policy(MANAGED, exact=False), "off"),
    "above zero": (replace(MANAGED, params={"temperature": 0.7}), "temperature"),
    "epoch unknown": (replace(MANAGED, epoch=""), "epoch"),
    "epoch passed": (replace(MANAGED, epoch="other.epoch"), "epoch"),
}


@pytest.mark.parametrize(("call", "reason"), READS.values(), ids=list(READS))
async def test_not_served_even_if_it_is_there(cache: ExactCache, managed: Call, call: Call, reason: str) -> None:
    await cache.keep(managed, REPLY)
    call = replace(call, epoch=managed.epoch) if call.epoch == MANAGED.epoch else call
    assert replace(await cache.find(call), candidate=None) == Lookup(None, reason, call.epoch)


# --- the epoch ---------------------------------------------------------------------------------------------------


async def test_a_changed_document_turns_the_entry_into_a_miss(cache: ExactCache, epochs: Epochs, managed: Call) -> None:
    await cache.keep(managed, REPLY)
    token = await epochs.begin("acme", "help")
    pending = replace(managed, epoch=await epochs.current("acme", "help"))
    assert (await cache.find(pending)).reason == "epoch"
    after = replace(managed, epoch=await epochs.publish("acme", "help", token))
    assert (await cache.find(after)).reason == "epoch"
    assert await cache.keep(managed, REPLY) == "epoch", "the answer was begun before the change"
    assert await cache.keep(after, REPLY) == "kept"
    assert (await cache.find(after)).reply == REPLY


async def test_the_epoch_can_be_fetched_along_with_the_entry(cache: ExactCache, epochs: Epochs, managed: Call) -> None:
    await cache.keep(managed, REPLY)
    bare = replace(managed, epoch="")
    found = await cache.find(bare, epochs.current("acme", "help"))
    assert (found.reply, found.reason, found.epoch) == (REPLY, "hit", managed.epoch)
    token = await epochs.begin("acme", "help")
    assert await cache.find(bare, epochs.current("acme", "help")) == Lookup(None, "epoch", "")
    published = await epochs.publish("acme", "help", token)
    found = await cache.find(bare, epochs.current("acme", "help"))
    assert (found.reply, found.reason, found.epoch) == (None, "epoch", published)
    assert found.candidate is not None  # for whoever can tell whether the change concerns it
    assert (found.candidate.reply, found.candidate.grounding) == (REPLY, managed.grounding)
    skipped = replace(bare, cache=CacheMode.REFRESH)
    assert await cache.find(skipped, epochs.current("acme", "help")) == Lookup(None, "bypass", published)


# --- time --------------------------------------------------------------------------------------------------------


async def test_the_lifetime_is_absolute_and_a_hit_does_not_extend_it(
    cache: ExactCache, cache_redis: Redis, clock: ManualClock, managed: Call
) -> None:
    await cache.keep(managed, REPLY)
    name = entry_name(Scope.of(managed), answer_key(managed))
    value = await stored(cache_redis, managed)
    assert value is not None
    entry = decode(value)
    assert entry is not None
    assert 90 <= entry.expires_at - clock.now() <= 100, "the jitter shortens, it does not lengthen"
    await cache_redis.pexpire(name, 1234)  # stands for the time that passes on the server
    clock.advance(89)
    for _ in range(3):
        assert (await cache.find(managed)).reason == "hit"
    assert await cache_redis.pttl(name) <= 1234
    assert await stored(cache_redis, managed) == value
    clock.advance(entry.expires_at - clock.now())
    assert (await cache.find(managed)).reason == "expired"


async def test_lifetimes_are_spread_and_given_to_redis(cache: ExactCache, cache_redis: Redis) -> None:
    calls = [replace(RAW, repeat=number) for number in range(20)]
    for call in calls:
        await cache.keep(call, RAW_REPLY)
    lifetimes = [await cache_redis.pttl(entry_name(Scope.of(call), answer_key(call))) for call in calls]
    declared = CachePolicy().ttl * 1000
    assert len(set(lifetimes)) > 15
    assert all(0.89 * declared < lifetime <= declared for lifetime in lifetimes)


async def test_an_answer_of_a_fallback_is_kept_shortly_and_without_its_attempts(
    cache: ExactCache, clock: ManualClock, managed: Call
) -> None:
    attempts = (Attempt("openai", "small", 9.0, "provider_timeout"), Attempt("anthropic", "other", 9.0))
    fallen = replace(REPLY, provider="anthropic", model="other", attempts=attempts)
    await cache.keep(replace(managed, chain=(ModelRef("openai", "small"), ModelRef("anthropic", "other"))), fallen)
    call = replace(managed, chain=(ModelRef("openai", "small"), ModelRef("anthropic", "other")))
    assert (await cache.find(call)).reply == replace(fallen, attempts=())
    clock.advance(FALLBACK_TTL)
    assert (await cache.find(call)).reason == "expired"


# --- what may stand under a name ---------------------------------------------------------------------------------

Spoil = Callable[[bytes], bytes]
SPOILT: dict[str, Spoil] = {
    "empty": lambda value: b"",
    "foreign": lambda value: b'{"answer": "hello"}',
    "pickle": lambda value: b"\x80\x04N.",
    "magic alone": lambda value: MAGIC,
    "cut": lambda value: value[:-5],
    "longer": lambda value: value + b"\x00",
    "one bit": lambda value: value[:-20] + bytes([value[-20] ^ 1]) + value[-19:],
    "older schema": lambda value: b"py\x00" + value[3:],
    "newer schema": lambda value: b"py\xff" + value[3:],
    "another shape": lambda value: _sealed(msgspec.msgpack.encode({"reply": "hello"})),
    "not MessagePack": lambda value: _sealed(b"\xc1\xc1"),
}


def _sealed(body: bytes) -> bytes:
    return MAGIC + zlib.crc32(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=list(SPOILT))
async def test_what_is_not_an_entry_is_a_miss(
    cache: ExactCache, cache_redis: Redis, managed: Call, spoil: Spoil
) -> None:
    await cache.keep(managed, REPLY)
    value = await stored(cache_redis, managed)
    assert value is not None
    await cache_redis.set(entry_name(Scope.of(managed), answer_key(managed)), spoil(value))
    assert (await cache.find(managed)).reason == "miss"
    assert await cache.keep(managed, REPLY) == "kept"
    assert (await cache.find(managed)).reason == "hit"


async def test_an_entry_under_the_name_of_another_is_a_miss(
    cache: ExactCache, cache_redis: Redis, managed: Call
) -> None:
    await cache.keep(managed, REPLY)
    value = await stored(cache_redis, managed)
    assert value is not None
    asked = replace(managed, variables={"question": "Something else?"})
    await cache_redis.set(entry_name(Scope.of(asked), answer_key(asked)), value)
    assert (await cache.find(asked)).reason == "miss"


async def test_a_key_of_another_type_is_trouble_and_trouble_is_a_miss(
    cache: ExactCache, cache_redis: Redis, managed: Call
) -> None:
    await cache_redis.lpush(entry_name(Scope.of(managed), answer_key(managed)), "x")
    assert await cache.find(managed) == Lookup(None, "unavailable", managed.epoch)


# --- Redis in trouble --------------------------------------------------------------------------------------------


class Steady:
    async def current(self, tenant: str, collection: str) -> str:
        return MANAGED.epoch


async def test_a_slow_or_stopped_redis_is_a_miss_within_the_time_out(tmp_path: Path, clock: ManualClock) -> None:
    server = start_redis(tmp_path, *CACHE_ROLE)
    try:
        async with connect(server.url, timeout=0.3, connections=2) as redis:
            cache = ExactCache(redis, Steady(), clock=clock, entropy=random.Random(1), timeout=0.3)
            assert await cache.keep(MANAGED, REPLY) == "kept"
            server.pause()
            for _ in range(2):
                async with asyncio.timeout(0.3 + 1):
                    assert (await cache.find(MANAGED)).reason == "unavailable"
            async with asyncio.timeout(0.3 + 1):  # more callers than connections: they wait, bounded
                together = await asyncio.gather(*(cache.find(MANAGED) for _ in range(20)))
            assert {found.reason for found in together} == {"unavailable"}
            async with asyncio.timeout(0.3 + 1):
                assert await cache.keep(MANAGED, REPLY) == "unavailable"
            server.resume()
            assert (await cache.find(MANAGED)).reason == "hit", "the late reply of a given-up command is not read"
            server.stop()
            assert (await cache.find(MANAGED)).reason == "unavailable"
            assert await cache.keep(MANAGED, REPLY) == "unavailable"
            with pytest.raises(StorageUnavailable):
                await cache.forget("acme")
            server.start()
            assert (await cache.find(MANAGED)).reason == "miss"
            assert await cache.keep(MANAGED, REPLY) == "kept"
    finally:
        server.stop()


async def test_a_full_redis_that_does_not_evict_is_not_an_error(cache: ExactCache, cache_redis: Redis) -> None:
    await cache_redis.config_set("maxmemory-policy", "noeviction")
    await cache_redis.config_set("maxmemory", "1")
    try:
        assert await cache.keep(RAW, RAW_REPLY) == "unavailable"
        assert (await cache.find(RAW)).reason == "miss"
    finally:
        await cache_redis.config_set("maxmemory", "64mb")
        await cache_redis.config_set("maxmemory-policy", "allkeys-lru")


# --- going through it --------------------------------------------------------------------------------------------


async def fill(cache: ExactCache, epochs: Epochs) -> None:
    for tenant in ("acme", "acme|x", "ac*"):
        for name in ("help-centre", "help", "raw"):
            for number in ("1.0.0", "1.0"):
                version = replace(VERSION, tenant=tenant, name=name, version=number)
                call = replace(MANAGED, tenant=tenant, version=version, epoch=await epochs.current(tenant, "help"))
                assert await cache.keep(call, REPLY) == "kept"
        assert await cache.keep(replace(RAW, tenant=tenant), RAW_REPLY) == "kept"


@pytest.mark.parametrize(
    ("tenant", "prompt", "version", "removed"),
    [
        ("acme", None, None, 7),
        ("acme", "help", None, 2),
        ("acme", "help-centre", "1.0", 1),
        ("acme", "raw", None, 2),
        ("ac*", None, None, 7),
        ("a", None, None, 0),
        ("acme", "hel*", None, 0),
    ],
)
async def test_forgetting_takes_exactly_what_was_named(
    cache: ExactCache,
    cache_redis: Redis,
    epochs: Epochs,
    tenant: str,
    prompt: str | None,
    version: str | None,
    removed: int,
) -> None:
    await cache_redis.set("py:other", "stays")
    await fill(cache, epochs)
    assert await cache.forget(tenant, prompt, version) == removed
    assert await cache_redis.dbsize() == 22 - removed
    assert await cache.forget(tenant, prompt, version) == 0


async def test_many_batches_are_forgotten_whole(cache: ExactCache) -> None:
    await asyncio.gather(*(cache.keep(replace(RAW, repeat=number), RAW_REPLY) for number in range(700)))
    assert await cache.forget("acme") == 700


async def test_a_survey_tells_where_each_entry_came_from(
    cache: ExactCache, cache_redis: Redis, epochs: Epochs, clock: ManualClock, managed: Call
) -> None:
    await fill(cache, epochs)
    await cache_redis.set(entry_name(Scope("acme"), "0" * 64), b"junk")
    everything = [kept async for kept in cache.survey()]
    assert len(everything) == 22
    of_acme = {(kept.scope.prompt, kept.scope.version, kept.readable): kept async for kept in cache.survey("acme")}
    assert len(of_acme) == 8
    kept = of_acme["help-centre", "1.0.0", True]
    assert (kept.collection, kept.epoch, kept.documents) == ("help", managed.epoch, REPLY.documents)
    assert (kept.provider, kept.model, kept.created_at) == ("openai", "small", clock.now())
    assert kept.variables == MANAGED.variables
    assert clock.now() + 90 <= kept.expires_at <= clock.now() + 100
    assert kept.size > 100
    assert of_acme["", "", False].size == 4
    assert await cache.drop([kept.name, of_acme["", "", False].name]) == 2
    assert len([kept async for kept in cache.survey("acme")]) == 6


async def test_only_entries_can_be_dropped(cache: ExactCache, cache_redis: Redis) -> None:
    await cache_redis.set("py:other", "stays")
    with pytest.raises(ValueError, match="name of a cache entry"):
        await cache.drop(["py:other"])
    assert await cache_redis.dbsize() == 1


async def test_a_look_is_one_get_and_a_look_that_may_not_serve_is_none(
    cache: ExactCache, cache_redis: Redis, managed: Call, cache_server: RedisServer
) -> None:
    async def commands() -> int:
        return int((await cache_redis.info("stats"))["total_commands_processed"])

    await cache.find(managed)
    before = await commands()
    await cache.find(managed)
    assert await commands() - before == 2, "the GET, and the INFO that counts"
    before = await commands()
    await cache.find(replace(managed, evidence=True))
    await cache.find(replace(managed, epoch=""))
    assert await commands() - before == 1
