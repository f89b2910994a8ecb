"""How a key stands, and what one transaction does about it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Engine

from gateway.idempotency import claims
from gateway.idempotency.claims import Claim, Known, Place, Standing, standing
from gateway.idempotency.policy import IdempotencyPolicy
from tests.gateway.idempotency.workers import BODY, KEY, OTHER_BODY, row

NOW = 1_000.0
PLACE = Place("acme", KEY)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (Known(BODY, True, 0.0, NOW + 1), Standing.FINISHED),
        (Known(BODY, True, 0.0, NOW), Standing.FORGOTTEN),
        (Known(OTHER_BODY, True, 0.0, NOW + 1), Standing.OTHER_BODY),
        (Known(OTHER_BODY, True, 0.0, NOW), Standing.FORGOTTEN),
        (Known(BODY, False, NOW + 1, NOW + 1), Standing.UNDER_WAY),
        (Known(BODY, False, NOW + 1, NOW), Standing.UNDER_WAY),  # renewed for longer than it is kept
        (Known(BODY, False, NOW, NOW + 1), Standing.ABANDONED),
        (Known(BODY, False, NOW, NOW), Standing.FORGOTTEN),
        (Known(OTHER_BODY, False, NOW + 1, NOW + 1), Standing.OTHER_BODY),
        (Known(OTHER_BODY, False, NOW, NOW + 1), Standing.OTHER_BODY),
    ],
)
def test_standing(known: Known, expected: Standing) -> None:
    assert standing(known, BODY, NOW) is expected


class IsNotFree(Exception):
    pass


def claim(engine: Engine, owner: str, *, now: float = NOW) -> Claim:
    granted = claims.claim(
        engine,
        PLACE,
        fingerprint=BODY,
        call_id=f"call-of-{owner}",
        owner=owner,
        now=now,
        policy=IdempotencyPolicy(lease=10, retention=100),
    )
    if not isinstance(granted, Claim):
        raise IsNotFree
    return granted


@pytest.mark.parametrize("abandoned", [True, False])
def test_of_any_number_of_workers_one_claims(engine: Engine, abandoned: bool) -> None:
    if abandoned:
        claim(engine, "dead")
    together = Barrier(6)

    def attempt(owner: str) -> Claim | None:
        together.wait(10)
        try:
            return claim(engine, owner, now=NOW + 10)
        except IsNotFree:
            return None

    with ThreadPoolExecutor(6) as workers:
        granted = [one for one in workers.map(attempt, "abcdef") if one]
    assert len(granted) == 1
    kept = row(engine)
    assert kept is not None
    assert (kept.owner, kept.call_id) == (granted[0].owner, granted[0].call_id)


def test_of_two_answers_under_one_id_the_first_is_everybodys(engine: Engine) -> None:
    slow = claim(engine, "slow")
    heir = claim(engine, "heir", now=NOW + 10)
    assert (heir.call_id, heir.inherited, slow.inherited) == ("call-of-slow", True, False)
    assert claims.finish(engine, slow, b"slow") == b"slow"
    assert claims.finish(engine, heir, b"heir") == b"slow"


def test_of_answers_that_arrive_together_one_is_everybodys(engine: Engine) -> None:
    held = claim(engine, "one")
    together = Barrier(6)

    def attempt(outcome: bytes) -> bytes | None:
        together.wait(10)
        return claims.finish(engine, held, outcome)

    with ThreadPoolExecutor(6) as workers:
        counts = set(workers.map(attempt, [b"a", b"b", b"c", b"d", b"e", b"f"]))
    kept = row(engine)
    assert kept is not None
    assert counts == {kept.outcome}


def test_an_owner_that_lost_its_claim_can_neither_release_nor_renew_it(engine: Engine) -> None:
    slow = claim(engine, "slow")
    claim(engine, "heir", now=NOW + 10)
    claims.release(engine, slow, recorded=True)
    claims.renew(engine, [slow], NOW + 1_000)
    kept = row(engine)
    assert kept is not None
    assert (kept.owner, kept.lease_until) == ("heir", NOW + 20)


def test_what_is_answered_cannot_be_released_or_renewed(engine: Engine) -> None:
    held = claim(engine, "one")
    claims.finish(engine, held, b"answer")
    claims.release(engine, held, recorded=True)
    claims.renew(engine, [held], NOW + 1_000)
    kept = row(engine)
    assert kept is not None
    assert (kept.outcome, kept.lease_until) == (b"answer", 0.0)


def test_an_answer_for_a_key_that_was_claimed_anew_is_nobodys(engine: Engine) -> None:
    lost = claim(engine, "lost")
    claims.release(engine, claim(engine, "heir", now=NOW + 10), recorded=True)
    assert claims.finish(engine, lost, b"lost") is None
    anew = claim(engine, "anew")
    assert (anew.call_id, anew.inherited) == ("call-of-anew", False)
    assert claims.finish(engine, lost, b"lost") is None
    assert claims.finish(engine, anew, b"anew") == b"anew"


def test_an_inherited_claim_that_led_to_no_record_is_inherited_again(engine: Engine) -> None:
    claim(engine, "dead")
    claims.release(engine, claim(engine, "heir", now=NOW + 10), recorded=False)
    assert not claims.is_under_way(engine, PLACE, BODY, NOW + 10)
    assert claim(engine, "next", now=NOW + 10).call_id == "call-of-dead"


def test_a_forgotten_key_is_a_new_one(engine: Engine) -> None:
    claims.finish(engine, claim(engine, "old"), b"old")
    anew = claim(engine, "new", now=NOW + 100)
    assert (anew.call_id, anew.inherited) == ("call-of-new", False)
    kept = row(engine)
    assert kept is not None
    assert (kept.outcome, kept.lease_until, kept.expires_at) == (None, NOW + 110, NOW + 200)


def test_looking_is_enough_to_know_whether_to_wait(engine: Engine) -> None:
    assert not claims.is_under_way(engine, PLACE, BODY, NOW)
    held = claim(engine, "one")
    assert claims.is_under_way(engine, PLACE, BODY, NOW + 9)
    assert not claims.is_under_way(engine, PLACE, OTHER_BODY, NOW + 9)  # there is a conflict to be told
    assert not claims.is_under_way(engine, PLACE, BODY, NOW + 10)
    claims.finish(engine, held, b"answer")
    assert not claims.is_under_way(engine, PLACE, BODY, NOW)
