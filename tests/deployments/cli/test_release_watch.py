"""A release that traffic is played to: what is read of it, how it looks, that it is followed to its end."""

import json
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console
from sqlalchemy import Engine

from deployments.cli.release_watch import ReleaseWatch, as_json, headline, release_table
from deployments.cli.traffic_view import TrafficView, print_report
from deployments.traffic.plan import TrafficPlan
from deployments.traffic.report import TrafficReport
from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable
from tasks.releases.live import ReleaseNow, release_now
from tasks.releases.stages import Stage
from tests.tasks.releases.traffic import around, play
from tests.tasks.releases.yard import Yard


@pytest.fixture
def yard(ledger_url: str, open_engine: Callable[..., Engine], clock: ManualClock) -> Yard:
    return Yard(open_engine(ledger_url), clock)


def shown(now: ReleaseNow, width: int, at: float = 0.0) -> str:
    out = Console(file=StringIO(), width=width)
    out.print(headline(now))
    out.print(release_table(now, at))
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


def read(yard: Yard, release_id: str = "") -> ReleaseNow:
    found = release_now(yard.engine, "acme", "help", release_id)
    assert found is not None
    return found


def test_nothing_is_read_without_an_open_release(yard: Yard) -> None:
    yard.promote("1.0.0")
    assert release_now(yard.engine, "acme", "help") is None
    assert release_now(yard.engine, "acme", "other") is None


def test_a_release_without_a_look_yet_has_its_share_and_its_arms(yard: Yard) -> None:
    yard.canary()
    now = read(yard)
    assert (now.version, now.baseline, now.share_percent, now.guardrails) == ("1.1.0", "1.0.0", 25.0, ())
    assert "1.1.0 against 1.0.0: canary at 25 % of the users" in shown(now, 80)


@pytest.mark.parametrize("width", [80, 120])
def test_arms_scores_and_e_values_are_beside_each_other(yard: Yard, width: int) -> None:
    release = play(yard, yard.canary(), around(0.9, 0.9), rounds=3)
    assert release.stage == Stage.CANARY
    now = read(yard)
    canary, stable = now.arms["canary"], now.arms["stable"]
    assert canary.users + stable.users == 180 == canary.scored + stable.scored
    assert canary.quality == pytest.approx(0.9, abs=0.05)
    text = shown(now, width, at=yard.clock.now() + 7)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    assert "of 20" in text
    assert "of 40" in text
    assert "E-values of the last look, 7 s before" in text
    plain = json.loads(json.dumps(as_json(now)))
    assert (plain["share_percent"], plain["guardrails"][0]["metric"]) == (50.0, "quality")


def test_what_is_no_evidence_is_not_counted(yard: Yard) -> None:
    release = play(yard, yard.canary(), around(0.9, 0.9), rounds=1, canary={"layer": "exact"})
    now = read(yard, release.id)
    assert now.arms["canary"].calls == 0
    assert now.arms["stable"].calls > 30


def test_it_is_followed_to_its_verdict(yard: Yard) -> None:
    release = yard.canary()
    watch = ReleaseWatch(lambda release_id: release_now(yard.engine, "acme", "help", release_id), every=60.0)
    with watch:
        assert watch.now is not None
        assert watch.now.open
        play(yard, release, around(0.9, 0.3), rounds=20)
    assert watch.now is not None
    assert (watch.now.stage, watch.now.open) == ("rolled_back", False)
    out = Console(file=StringIO(), width=80)
    print_report(TrafficReport(seconds=1.0), out, watch.now)
    assert isinstance(out.file, StringIO)
    assert "1.1.0 against 1.0.0: rolled back" in out.file.getvalue()
    assert "canary is worse" in " ".join(out.file.getvalue().split())


def test_a_ledger_that_does_not_answer_disturbs_nothing(yard: Yard) -> None:
    def down(release_id: str) -> ReleaseNow | None:
        raise StorageUnavailable("no answer")

    with ReleaseWatch(down, every=60.0) as watch:
        assert watch.now is None
    assert as_json(watch.now) is None


def test_without_a_terminal_the_line_names_the_release(yard: Yard) -> None:
    yard.canary()
    out = Console(file=StringIO(), width=80)
    with TrafficView(TrafficPlan("http://x", "k", "help"), out, release=lambda: read(yard)) as view:
        view.show(TrafficReport(seconds=6.0))
    assert isinstance(out.file, StringIO)
    assert "1.1.0 against 1.0.0: canary at 25 %" in out.file.getvalue()


def test_a_release_that_no_user_has_seen_is_only_named(yard: Yard) -> None:
    yard.promote("1.0.0")
    yard.register("1.1.0")
    yard.open("1.1.0")
    out = Console(file=StringIO(), width=80)
    print_report(TrafficReport(seconds=1.0), out, read(yard))
    assert isinstance(out.file, StringIO)
    assert "1.1.0 against 1.0.0: gating" in out.file.getvalue()
    assert "calls judged" not in out.file.getvalue()
