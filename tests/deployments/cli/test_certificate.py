import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from gateway.clock import ManualClock
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.storage.engine import writing
from gateway.storage.models import ScoreRow
from tasks.certificates.record import NotFinished
from tasks.releases.stages import Stage
from tests.deployments.cli.conftest import Promptyard
from tests.tasks.releases.traffic import around, play
from tests.tasks.releases.yard import Yard


@pytest.fixture
def yard(ledger: Engine, clock: ManualClock) -> Yard:
    return Yard(ledger, clock)


@pytest.fixture
def rolled_back(yard: Yard) -> str:
    release = play(yard, yard.canary(), around(0.9, 0.4), rounds=20)
    assert release.stage == Stage.ROLLED_BACK
    return release.id


def test_the_record_for_people_for_machines_and_for_paper(
    promptyard: Promptyard, rolled_back: str, tmp_path: Path
) -> None:
    plain = promptyard("certificate", rolled_back)
    assert plain.exit_code == 0, plain.output
    assert "rolled back" in plain.stdout
    assert "holds" in plain.stdout
    page = tmp_path / "certificate.html"
    written = promptyard("certificate", rolled_back, "--html", str(page), "--json")
    assert json.loads(written.stdout)["release"]["id"] == rolled_back
    assert rolled_back in page.read_text(encoding="utf-8")


def test_the_beginning_of_an_id_is_enough(promptyard: Promptyard, rolled_back: str, yard: Yard) -> None:
    known = json.loads(promptyard("certificate", rolled_back[:-4], "--json").stdout)
    assert known["release"]["id"] == rolled_back
    assert isinstance(promptyard("certificate", "rel_").exception, Conflict)
    assert isinstance(promptyard("certificate", "").exception, NotFound)
    assert isinstance(promptyard("certificate", "rel_none").exception, NotFound)


def test_a_page_that_cannot_be_written_is_said(promptyard: Promptyard, rolled_back: str, tmp_path: Path) -> None:
    refused = promptyard("certificate", rolled_back, "--html", str(tmp_path / "nowhere" / "page.html"))
    assert isinstance(refused.exception, InvalidRequest)


def test_a_replay_says_whether_it_holds(promptyard: Promptyard, yard: Yard, rolled_back: str) -> None:
    held = promptyard("certificate", rolled_back, "--replay")
    assert (held.exit_code, "The replay holds" in held.stdout) == (0, True)
    with writing(yard.engine) as session:
        score = session.scalars(select(ScoreRow)).first()
        assert score is not None
        score.value = 0.01
    failed = promptyard("certificate", rolled_back, "--replay", "--json")
    assert failed.exit_code == 3
    assert "its score is not what it was" in json.loads(failed.stdout)["first_difference"]
    assert promptyard("certificate", rolled_back).exit_code == 3


def test_a_release_that_waits_for_nobody_cannot_be_approved(promptyard: Promptyard, rolled_back: str) -> None:
    for command in (("approve",), ("reject", "--reason", "late")):
        refused = promptyard(command[0], rolled_back, "--by", "Ada", *command[1:])
        assert isinstance(refused.exception, Conflict)
        assert "awaits no approval: it is rolled back" in str(refused.exception)
        assert "connect" not in refused.output, "said before any server is asked"
    assert isinstance(promptyard("approve", "rel_1", "--by", "Ada").exception, NotFound)


def test_what_is_not_finished_or_unknown_is_said(promptyard: Promptyard, yard: Yard) -> None:
    release = yard.canary()
    assert isinstance(promptyard("certificate", release.id).exception, NotFinished)
    assert promptyard("certificate", release.id, "--replay").exit_code == 0
    assert isinstance(promptyard("certificate", "rel_1").exception, NotFound)
