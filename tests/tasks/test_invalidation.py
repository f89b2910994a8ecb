"""What goes from the cache, why, and that what stays is true."""

import pytest
from msgspec import structs

from gateway.cache.inventory import Kept
from gateway.cache.keys import Scope
from gateway.clock import ManualClock, SystemClock
from gateway.errors import InvalidRequest, StorageUnavailable
from gateway.settings import Settings
from gateway.storage.engine import writing
from gateway.storage.models import DocumentRow, PromptRow, ReleaseRow
from gateway.types import CachePolicy, Layer, PromptVersion
from tasks.cache_scope import CacheScope
from tasks.invalidation import Reason, Survey, active_versions, sweep, why_remove
from tests.tasks.conftest import Station
from tests.tasks.rows import add, prompt_rows

NOW = 1_000.0
ACTIVE = frozenset({("acme", "help", "1.0.0")})
LEAST = {("acme", "articles"): {"refunds": 3}}
EPOCHS = {("acme", "articles"): "g.2", ("acme", "changing"): ""}
ENTRY = Kept(
    name="n",
    scope=Scope("acme", "help", "1.0.0"),
    size=10,
    collection="articles",
    epoch="g.2",
    documents=("doc:articles/refunds@3",),
    tags=("prices",),
    expires_at=NOW + 1,
)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (ENTRY, None),
        (structs.replace(ENTRY, documents=("doc:articles/refunds@2",)), None),  # of the current epoch: the probe's
        (structs.replace(ENTRY, readable=False), Reason.UNREADABLE),
        (structs.replace(ENTRY, expires_at=NOW), Reason.EXPIRED),
        (structs.replace(ENTRY, expires_at=NOW, aged_until=NOW + 1), None),  # served on while it is made anew
        (structs.replace(ENTRY, scope=Scope("acme", "help", "0.9.0")), Reason.INACTIVE),
        (structs.replace(ENTRY, scope=Scope("somebody", "help", "1.0.0")), Reason.INACTIVE),
        (structs.replace(ENTRY, epoch="g.1"), None),  # may still be true: the next call finds out
        (structs.replace(ENTRY, epoch="g.1", documents=("doc:articles/refunds@2",)), Reason.ORPHANED),
        (structs.replace(ENTRY, epoch="g.1", documents=("doc:articles/unknown@1",)), Reason.ORPHANED),
        (structs.replace(ENTRY, epoch="g.1", documents=()), None),
        (structs.replace(ENTRY, collection="changing"), None),  # a change is under way: wait and see
        (structs.replace(ENTRY, collection="unheard-of"), None),
        (structs.replace(ENTRY, collection="", epoch=""), None),
        (structs.replace(ENTRY, scope=Scope("acme"), collection="", epoch=""), None),  # a raw call has no version
    ],
)
def test_why_remove(entry: Kept, reason: Reason | None) -> None:
    assert why_remove(entry, NOW, ACTIVE, EPOCHS, LEAST) is reason


@pytest.mark.parametrize(
    ("scope", "holds"),
    [
        (CacheScope("acme"), True),
        (CacheScope("other"), False),
        (CacheScope("acme", "help"), True),
        (CacheScope("acme", "hel"), False),
        (CacheScope("acme", "help", "1.0.0"), True),
        (CacheScope("acme", "help", "1.0"), False),
        (CacheScope("acme", document="articles/refunds"), True),
        (CacheScope("acme", document="articles/refund"), False),
        (CacheScope("acme", "help", document="other/refunds"), False),
        (CacheScope("acme", tag="prices"), True),
        (CacheScope("acme", tag="price"), False),
    ],
)
def test_scope(scope: CacheScope, holds: bool) -> None:
    assert scope.holds(ENTRY) is holds
    assert not scope.everything


@pytest.mark.parametrize(
    "fields",
    [
        {"tenant": "acme", "version": "1.0.0"},
        {"prompt": "help"},
        {"tenant": "acme", "document": "refunds"},
        {"tag": "t"},
        {"tenant": "acme", "prompt": "help", "tag": "t"},
    ],
)
def test_scopes_that_make_no_sense_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        CacheScope(**fields)


def look(station: Station, scope: CacheScope | None = None, *, dry_run: bool = False, ahead: float = 0.0) -> Survey:
    clock = ManualClock(SystemClock().now() + ahead)
    return sweep.fn(station.settings, clock, scope or CacheScope(), dry_run=dry_run, probe=10, seed=1)


def test_dry_run_counts_and_removes_nothing(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    station.ask("How long do refunds take?")
    station.put("refunds", "Refunds take three days.")
    station.ask("When are refunds paid?")
    survey = look(station, dry_run=True)
    assert survey.entries == {Reason.ORPHANED: 1}
    assert survey.sizes[Reason.ORPHANED] > 0
    assert (survey.seen, survey.removed, survey.probed, list(survey.stale)) == (2, 0, 1, [])
    assert len(station.kept()) == 2


def test_hygiene_removes_what_is_of_no_use_and_nothing_else(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    station.ask("How long do refunds take?")
    station.ask("How long do refunds take?", structs.replace(station.version, version="0.9.0"))
    station.run(station.gateway.cache_redis.set("py:x:{acme|help@1.0.0}:broken", b"not an entry"))
    station.run(station.gateway.cache_redis.set("somebody-else", b"not ours"))
    survey = look(station)
    assert survey.entries == {Reason.INACTIVE: 1, Reason.UNREADABLE: 1}
    assert survey.removed == 2
    assert [entry.scope.version for entry in station.kept()] == ["1.0.0"]
    assert station.run(station.gateway.cache_redis.get("somebody-else")) == b"not ours"
    assert look(station, ahead=100_000.0).entries == {Reason.EXPIRED: 1}
    assert station.kept() == []


def test_a_scope_goes_whole_and_alone(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    station.put("zebras", "Zebras have stripes.")
    station.ask("How long do refunds take?")
    station.ask("Do zebras have stripes?")
    station.ask("Do zebras have stripes?", structs.replace(station.version, version="0.9.0"))
    survey = look(station, CacheScope("acme", document="articles/refunds"))
    assert survey.entries == {Reason.ASKED: 1}
    assert len(station.kept()) == 2  # 0.9.0 does not serve any more, but nobody asked for it to go
    assert look(station, CacheScope("somebody-else")).removed == 0
    assert look(station, CacheScope("acme", "help", "1.0.0")).removed == 1
    assert look(station, CacheScope("acme")).removed == 1


def test_a_tag_reaches_what_was_kept_before_and_what_was_in_flight(station: Station) -> None:
    tagged = structs.replace(station.version, cache=CachePolicy(tags=("prices",)))
    station.put("refunds", "Refunds take ten days.")
    station.ask("How long do refunds take?", tagged)
    station.ask("How long do refunds take?", structs.replace(station.version, version="0.9.0"))
    (entry,) = (one for one in station.kept() if one.tags)
    value = station.run(station.gateway.cache_redis.get(entry.name))
    dry = look(station, CacheScope("acme", tag="prices"), dry_run=True)
    assert (dry.entries, dry.removed) == ({Reason.ASKED: 1}, 0)
    assert station.ask("How long do refunds take?", tagged).layer is Layer.EXACT
    assert look(station, CacheScope("acme", tag="prices")).removed == 1
    assert [one.scope.version for one in station.kept()] == ["0.9.0"]
    station.run(station.gateway.cache_redis.set(entry.name, value))  # as one that was begun before, and kept late
    answer = station.ask("How long do refunds take?", tagged)
    assert (answer.layer, answer.cache_reason) == (Layer.NONE, "removed")


def test_what_the_semantic_layer_remembers_goes_with_its_prompt(station: Station) -> None:
    redis = station.gateway.cache_redis
    for name in ("py:s:{acme|help@1.0.0}:a", "py:s:{acme|help@1.0.0}:b", "py:s:{other|help@1.0.0}:a"):
        station.run(redis.xadd(name, {"i": b"question"}))
    assert look(station, CacheScope("acme", "help"), dry_run=True).questions == 2
    assert look(station, CacheScope("acme", "help", "1.0.1")).questions == 0
    assert look(station, CacheScope("acme", tag="prices")).questions == 0
    assert look(station, CacheScope("acme", "help")).questions == 2
    assert station.run(redis.keys("py:s:*")) == [b"py:s:{other|help@1.0.0}:a"]


def test_a_stale_answer_would_be_found_and_removed(station: Station) -> None:
    """The promise is broken on purpose: a document changes in SQL without its epoch."""
    station.put("refunds", "Refunds take ten days.")
    station.ask("How long do refunds take?")
    with writing(station.engine) as session:
        session.get_one(DocumentRow, ("acme", "articles", "refunds")).version += 1
    (stale,) = look(station, dry_run=True).stale
    assert "doc:articles/refunds@1" in stale
    assert look(station).removed == 1
    assert station.kept() == []


def test_active_is_what_serves_served_before_or_may_come(station: Station, second: PromptVersion) -> None:
    assert active_versions(station.engine) == {
        ("acme", "help", "1.0.0"),
        ("acme", "help", "0.8.0"),
        ("acme", "help", second.version),
    }


@pytest.fixture
def second(station: Station) -> PromptVersion:
    """A version under release, beside closed ones; and one that served before."""
    common = {"tenant": "acme", "prompt": "help", "opened_at": 1.0, "baseline": "1.0.0"}
    add(
        station.engine,
        *prompt_rows("untried", production="")[:1],
        ReleaseRow(id="open", version="1.1.0", stage="gating", open_slot="acme/help", **common),
        ReleaseRow(id="closed", version="1.0.5", stage="refused", open_slot=None, **common),
    )
    with writing(station.engine) as session:
        session.get_one(PromptRow, ("acme", "help")).previous = "0.8.0"
    return structs.replace(station.version, version="1.1.0")


def test_no_redis_is_said(settings: Settings, ledger: object) -> None:
    with pytest.raises(StorageUnavailable):
        sweep.fn(settings, ManualClock(), CacheScope(), dry_run=True, probe=1, seed=1)
