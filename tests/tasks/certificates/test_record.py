"""The record of a release, and its page: what they say, that they escape what they show, that they stand alone."""

import json
import re
from html.parser import HTMLParser

import pytest
from sqlalchemy import select

from gateway.errors import NotFound
from gateway.storage.engine import writing
from gateway.storage.models import PromptVersionRow, ReleaseRow, ScoreRow
from tasks.certificates.page import page
from tasks.certificates.record import NotFinished, certificate
from tasks.releases import store
from tests.tasks.releases.traffic import around, play
from tests.tasks.releases.yard import Yard


def test_a_promotion_says_what_it_promises(yard: Yard, promoted: ReleaseRow) -> None:
    record = certificate(yard.engine, promoted.id)
    assert record["verdict"]["stage"] == "promoted"
    assert record["promise"]["bound"] == "P(promoting a version worse than the margin on any guardrail) ≤ 0.05"
    assert len(record["promise"]["assumptions"]) >= 5
    assert record["evidence"]["replay"] == {
        "holds": True,
        "verdicts": sum(bool(step["guardrails"]) for step in record["steps"]),
        "first_difference": None,
    }
    json.dumps(record, allow_nan=False)


def test_the_last_step_has_reached_every_limit(yard: Yard, promoted: ReleaseRow) -> None:
    last = certificate(yard.engine, promoted.id)["steps"][-1]
    assert [one["metric"] for one in last["guardrails"]] == ["quality", "failure"]
    assert all(one["e_not_worse"] >= one["promotes_at"] == 20 for one in last["guardrails"])
    assert all(one["e_worse"] < one["rolls_back_at"] == 40 for one in last["guardrails"])


def test_exclusions_are_counted_by_reason(yard: Yard) -> None:
    release = yard.canary()
    play(yard, release, around(0.9, 0.4), rounds=3, canary={"layer": "exact"})
    play(yard, release, around(0.9, 0.4), rounds=20, seed=8)
    record = certificate(yard.engine, release.id)
    assert record["left_out"]["calls"]["from the cache"] > 10
    assert record["steps"][-1]["excluded_calls"] == record["left_out"]["calls"]


def test_an_open_release_has_none(yard: Yard) -> None:
    with pytest.raises(NotFinished):
        certificate(yard.engine, yard.canary().id)
    with pytest.raises(NotFound):
        certificate(yard.engine, "rel_unknown")


def test_a_first_version_claims_nothing(yard: Yard) -> None:
    record = certificate(yard.engine, yard.promote("1.0.0").id)
    assert (record["promise"]["bound"], record["gate"]) == (None, None)
    assert "absolute floors" in record["promise"]["in_words"]
    assert "absolute floors" in page(record)


def test_a_release_that_a_person_ended_says_so(yard: Yard) -> None:
    release = play(yard, yard.canary(), around(0.8, 0.8), rounds=2)
    store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help", actor="Ada")
    record = certificate(yard.engine, release.id)
    assert record["verdict"]["by_hand"]
    assert "ended by a person" in record["promise"]["in_words"]
    assert "by Ada" in record["verdict"]["reason"]


def test_a_changed_row_shows_on_the_page(yard: Yard, rolled_back: ReleaseRow) -> None:
    assert "came out the same" in page(certificate(yard.engine, rolled_back.id))
    with writing(yard.engine) as session:
        score = session.scalars(select(ScoreRow)).first()
        assert score is not None
        score.value = 0.01
    shown = page(certificate(yard.engine, rolled_back.id))
    assert "First difference: look 1: call" in shown
    assert "came out the same" not in shown


def test_what_people_wrote_is_escaped(yard: Yard, promoted: ReleaseRow) -> None:
    with writing(yard.engine) as session:
        version = session.get_one(PromptVersionRow, ("acme", "help", "1.1.0"))
        version.changelog = "<script>alert('1')</script>"
        version.author = 'Ada "<b>" Byron'
    shown = page(certificate(yard.engine, promoted.id))
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


class Tags(HTMLParser):
    """Which tags are open at the end, and every address that the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone(yard: Yard, promoted: ReleaseRow) -> None:
    shown = page(certificate(yard.engine, promoted.id))
    tags = Tags()
    tags.feed(shown)
    assert (tags.open, tags.addresses) == ([], [])
    assert not re.search(r"<script|@import|url\(|https?://", shown)
    assert "<polyline" in shown


def test_a_release_that_nobody_was_shown_has_no_drawing(yard: Yard) -> None:
    assert "<svg" not in page(certificate(yard.engine, yard.promote("1.0.0").id))
