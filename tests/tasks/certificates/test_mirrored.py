"""The mirror stage on a certificate: its numbers, in the record, on the page and in the promise."""

import json
from typing import Any

from tasks.certificates.mirrored import in_words
from tasks.certificates.page import page
from tasks.certificates.record import certificate
from tasks.releases.stages import Stage
from tests.tasks.releases.mirrors import arrive, mirrored_release
from tests.tasks.releases.traffic import around, play
from tests.tasks.releases.yard import Yard

REJECTED: dict[str, Any] = {"status": "failed", "error": "provider_rejected_request", "answer": None, "attempts": []}


def test_a_refusal_on_mirrored_calls_shows_its_numbers(yard: Yard) -> None:
    release = mirrored_release(yard)
    arrive(yard, release, 3)
    yard.advance(release)
    arrive(yard, release, 12, name="<bad>", **REJECTED)
    arrive(yard, release, 2, name="fallen", fell_back=True)
    yard.advance(release)
    record = certificate(yard.engine, release.id)
    mirror = record["mirror"]
    assert (record["verdict"]["stage"], record["verdict"]["by_hand"]) == ("refused", False)
    assert (mirror["outcome"], mirror["pairs"], mirror["needed"], mirror["looks"]) == ("refuse", 15, 20, 2)
    failure = mirror["metrics"][0]
    assert (failure["metric"], failure["lost"], failure["won"]) == ("failure", 12, 0)
    assert failure["e_worse"] >= failure["refused_at"] == 40
    assert mirror["excluded_pairs"] == {"answered by a fallback": 2}
    assert [step["pairs"] for step in record["steps"]] == [None, None, 3, 15]
    assert record["promise"]["bound"] is None
    assert "refused there with a probability of at most 0.05" in record["promise"]["in_words"]
    assert record["evidence"]["replay"]["holds"]
    text = page(record)
    assert "Mirrored calls" in text
    assert "12 / 0" in text
    assert "2 answered by a fallback" in text
    assert "failure lost 12 won 0" in in_words(mirror)
    json.dumps(record, allow_nan=False)


def test_a_release_that_passed_its_mirror_shows_it_beside_its_canary(yard: Yard) -> None:
    release = mirrored_release(yard)
    arrive(yard, release, 20)
    yard.advance(release)
    release = play(yard, yard.release(release), around(0.9, 0.4), rounds=20)
    assert release.stage == Stage.ROLLED_BACK
    record = certificate(yard.engine, release.id)
    assert (record["mirror"]["outcome"], record["mirror"]["pairs"]) == ("go_on", 20)
    assert "proves nothing by itself" in record["promise"]["in_words"]
    assert record["evidence"]["replay"]["holds"]
    assert page(record).count("<h2>Mirrored calls</h2>") == 1


def test_without_a_mirror_there_is_nothing_to_show(yard: Yard) -> None:
    release = play(yard, yard.canary(), around(0.9, 0.4), rounds=20)
    record = certificate(yard.engine, release.id)
    assert record["mirror"] is None
    assert "Mirrored" not in page(record) + record["promise"]["in_words"]
