import json
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.errors import NotFound
from gateway.storage.engine import writing
from gateway.storage.models import CallRow, PromptVersionRow, ScoreRow
from tasks.experiments.store import open_experiment, set_weights
from tasks.releases import store
from tests.deployments.cli.conftest import PROMPT, TENANT, Promptyard, add_version, promote, start_canary


@pytest.fixture
def release_id(ledger: Engine, clock: ManualClock) -> str:
    """1.0.0 and 1.1.0 were in production one after the other; 1.2.0 is a canary at 25 %; 1.1.0 has four calls."""
    for version in ("1.0.0", "1.1.0"):
        add_version(ledger, clock, version)
        promote(ledger, clock, version)
        clock.advance(1)
    add_version(ledger, clock, "1.2.0", verdict="inconclusive")
    with writing(ledger) as session:
        for number in range(4):
            session.add(
                CallRow(
                    id=f"call_{number}",
                    tenant=TENANT,
                    origin="live",
                    prompt=PROMPT,
                    version="1.1.0",
                    user=f"user-{number % 2}",
                    started_at=clock.now(),
                    latency_ms=100.0 * (number + 1),
                    status="failed" if number == 3 else "ok",
                    layer="exact" if number == 2 else "none",
                    cost_usd=Decimal("0.001"),
                )
            )
        score = ScoreRow(call_id="call_0", metric="quality", source="judge", tenant=TENANT, value=0.875, scored_at=1.0)
        session.add(score)
    return start_canary(ledger, clock, "1.2.0", 2500)


def test_what_serves_and_how_it_does(promptyard: Promptyard, release_id: str) -> None:
    [prompt] = json.loads(promptyard("versions", "--json").stdout)["prompts"]
    assert (prompt["name"], prompt["production"], prompt["previous"]) == (PROMPT, "1.1.0", "1.0.0")
    assert prompt["release"]["id"] == release_id
    assert prompt["release"]["share_percent"] == 25
    canary, serving, before = prompt["versions"]
    assert [row["status"] for row in (canary, serving, before)] == ["canary", "production", "previous"]
    assert [row["share_percent"] for row in (canary, serving, before)] == [25, 75, 0]
    assert (serving["calls"], serving["users"], serving["failures"]) == (4, 2, 1)
    assert (serving["quality"], serving["hit_rate"], serving["latency_p50_ms"]) == (0.875, 0.25, 200.0)
    assert serving["cost_usd"] == pytest.approx(0.004)
    assert (canary["verdict"], canary["calls"], canary["quality"]) == ("inconclusive", 0, None)


@pytest.mark.parametrize("width", [80, 120, 160])
def test_the_table_fits_the_terminal_and_cuts_no_figure(promptyard: Promptyard, release_id: str, width: int) -> None:
    text = promptyard("versions", PROMPT, COLUMNS=str(width)).stdout
    assert all(len(line) <= width for line in text.splitlines())
    for figure in ("1.1.0", "inconclusive", "canary", "0.875", "200/300", "25%", "25 %", "$0.0040", release_id):
        assert figure in text, text


def test_an_unknown_prompt_is_an_error(promptyard: Promptyard, release_id: str) -> None:
    assert isinstance(promptyard("versions", "nope").exception, NotFound)


def test_without_prompts_it_says_what_to_do(promptyard: Promptyard, ledger: Engine) -> None:
    assert "promptyard release PATH" in promptyard("versions").stdout
    assert json.loads(promptyard("versions", "--json").stdout) == {"tenant": TENANT, "prompts": []}


def test_the_history_of_one_prompt_is_on_its_screen(
    promptyard: Promptyard, release_id: str, ledger: Engine, clock: ManualClock
) -> None:
    with writing(ledger) as session:
        version = session.get_one(PromptVersionRow, (TENANT, PROMPT, "1.2.0"))
        version.changelog, version.git_commit = "cites its sources", "4f2a9c1" + "0" * 33
    store.roll_back(ledger, clock, tenant=TENANT, prompt=PROMPT, actor="Ada")
    text = promptyard("versions", PROMPT).stdout
    line = next(line for line in text.splitlines() if release_id in line)
    assert line.split()[:3] == ["1.2.0", "rolled", "back"]
    assert "4f2a9c1 " in line
    assert "1.2.0  cites its sources" in text
    assert text.count("promoted") == 2
    store.roll_back(ledger, clock, tenant=TENANT, prompt=PROMPT, actor="Ada")
    text = promptyard("versions", PROMPT).stdout
    assert f"{PROMPT} went back to 1.0.0 by Ada" in next(line for line in text.splitlines() if "went back" in line)
    assert max(map(len, text.splitlines())) <= 80
    [prompt] = json.loads(promptyard("versions", PROMPT, "--json").stdout)["prompts"]
    assert [(row["version"], row["stage"]) for row in prompt["releases"]] == [
        ("1.2.0", "rolled_back"),
        ("1.1.0", "promoted"),
        ("1.0.0", "promoted"),
    ]
    assert prompt["versions"][0]["commit"].startswith("4f2a9c1")


def test_an_open_experiment_is_on_the_screen(promptyard: Promptyard, ledger: Engine, clock: ManualClock) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        add_version(ledger, clock, version)
        clock.advance(1)
    promote(ledger, clock, "1.0.0")
    with writing(ledger) as session:
        arms = [{"version": f"1.{n}.0", "weight": weight} for n, weight in enumerate((5_000, 3_000, 2_000))]
        row = open_experiment(session, TENANT, PROMPT, "bandit", arms, {}, clock)
        assert set_weights(session, row.id, [4_000, 0, 6_000], {}, ["1.1.0"], 0, clock)
    [prompt] = json.loads(promptyard("versions", "--json").stdout)["prompts"]
    assert (prompt["experiment"]["id"], prompt["experiment"]["policy"], prompt["release"]) == (row.id, "bandit", None)
    shown = [(one["version"], one["status"], one["share_percent"]) for one in prompt["versions"]]
    assert shown == [("1.2.0", "experiment", 60), ("1.1.0", "excluded", 0), ("1.0.0", "production", 40)]
    text = promptyard("versions", PROMPT, COLUMNS="160").stdout
    assert f"experiment {row.id} (bandit): 1.0.0 40 %, 1.1.0 0 %, 1.2.0 60 %" in text
