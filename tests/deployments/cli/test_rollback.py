import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deployments.cli.rollback import said
from gateway.clock import ManualClock
from gateway.errors import Conflict, NotFound
from gateway.prompts.routing_store import HEARTBEAT_PREFIX, REMEMBERED, ROUTING_KEY
from gateway.storage.engine import writing
from tasks.experiments.store import open_experiment
from tasks.releases import store
from tasks.releases.publishing import Publication
from tests.deployments.cli.conftest import PROMPT, TENANT, Promptyard, add_version, promote, start_canary
from tests.servers import STATE_ROLE, RedisServer, start_redis

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def two_versions(ledger: Engine, clock: ManualClock) -> Engine:
    for version in ("1.0.0", "1.1.0"):
        add_version(ledger, clock, version)
        promote(ledger, clock, version)
        clock.advance(1)
    return ledger


@pytest.fixture(scope="module")
def state_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("state-redis"), *STATE_ROLE)
    yield server
    server.stop()


def production(engine: Engine) -> str:
    return store.get_prompt(engine, TENANT, PROMPT).production


def test_production_goes_to_the_version_before_with_redis_down(promptyard: Promptyard, two_versions: Engine) -> None:
    result = promptyard("rollback", PROMPT)
    assert result.exit_code == 0, result.output
    assert production(two_versions) == "1.0.0"
    assert "help-centre 1.0.0 serves every user again" in result.stdout
    assert "follows from SQL within a second" in result.stderr


def test_again_does_not_bring_the_bad_version_back(promptyard: Promptyard, two_versions: Engine) -> None:
    promptyard("rollback", PROMPT)
    error = promptyard("rollback", PROMPT).exception
    assert isinstance(error, Conflict)
    assert "no earlier version" in error.message
    assert f"promptyard versions {PROMPT}" in error.hint
    assert production(two_versions) == "1.0.0"


def test_a_version_that_no_longer_serves_is_not_rolled_back_again(promptyard: Promptyard, two_versions: Engine) -> None:
    assert promptyard("rollback", PROMPT, "--from", "1.1.0").exit_code == 0
    error = promptyard("rollback", PROMPT, "--from", "1.1.0").exception
    assert isinstance(error, Conflict)
    assert "1.1.0 serves nobody: 1.0.0 is in production" in error.message
    assert production(two_versions) == "1.0.0"


def test_an_arm_of_an_experiment_serves_until_it_is_rolled_back(
    promptyard: Promptyard, two_versions: Engine, clock: ManualClock
) -> None:
    add_version(two_versions, clock, "1.2.0")
    arms = [{"version": "1.1.0", "weight": 5_000}, {"version": "1.2.0", "weight": 5_000}]
    with writing(two_versions) as session:
        row = open_experiment(session, TENANT, PROMPT, "ab", arms, {}, clock)
    result = promptyard("rollback", PROMPT, "--from", "1.2.0")
    assert result.exit_code == 0, result.output
    assert f"help-centre 1.1.0 serves every user again. Undone: experiment {row.id}." in result.stdout
    assert production(two_versions) == "1.1.0"
    assert isinstance(promptyard("rollback", PROMPT, "--from", "1.2.0").exception, Conflict)


def test_an_open_canary_is_closed_and_says_who_did_it(
    promptyard: Promptyard, two_versions: Engine, clock: ManualClock
) -> None:
    add_version(two_versions, clock, "1.2.0")
    release = start_canary(two_versions, clock, "1.2.0", 1000)
    result = promptyard("rollback", PROMPT, "--by", "Ada")
    assert release in result.stdout
    closed = store.get_release(two_versions, release)
    assert (closed.stage, closed.open_slot, production(two_versions)) == ("rolled_back", None, "1.1.0")
    assert store.steps_of(two_versions, release)[-1].reason == "rolled back by hand by Ada"


def test_for_machines_when_nothing_could_be_pushed(promptyard: Promptyard, two_versions: Engine) -> None:
    found = json.loads(promptyard("rollback", PROMPT, "--to", "1.0.0", "--json").stdout)
    assert (found["version"], found["verified"], found["gateways"]) == ("1.0.0", False, 0)
    assert "did not answer" in found["problem"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("nope",), NotFound), ((PROMPT, "--to", "9.9.9"), NotFound), ((PROMPT, "--to", "1.1.0"), Conflict)],
)
def test_what_cannot_be_changes_nothing(
    promptyard: Promptyard, two_versions: Engine, arguments: tuple[str, ...], error: type[Exception]
) -> None:
    assert isinstance(promptyard("rollback", *arguments).exception, error)
    assert production(two_versions) == "1.1.0"


@pytest.mark.integration
def test_it_waits_for_the_gateways_and_says_how_many(
    promptyard: Promptyard, two_versions: Engine, state_redis: RedisServer
) -> None:
    import redis

    with redis.Redis.from_url(state_redis.url) as gateway, gateway.pubsub() as told:
        gateway.set(f"{HEARTBEAT_PREFIX}g1", 0, ex=120)
        told.subscribe("py:routing:changed")
        told.get_message(timeout=5)

        def follow() -> None:
            message = told.get_message(timeout=10)
            assert message is not None
            gateway.set(f"{HEARTBEAT_PREFIX}g1", int(message["data"]), ex=120)

        follower = threading.Thread(target=follow)
        follower.start()
        result = promptyard("rollback", PROMPT, PROMPTYARD_STATE_REDIS_URL=state_redis.url)
        follower.join(10)
        assert "1 gateway serves by it" in result.stdout, result.output
        assert b'"1.0.0"' in gateway.hget(ROUTING_KEY, "table")


@pytest.mark.integration
def test_a_gateway_that_died_is_waited_for_as_long_as_it_might_live(
    promptyard: Promptyard, two_versions: Engine, state_redis: RedisServer
) -> None:
    import redis

    with redis.Redis.from_url(state_redis.url) as gateway:
        gateway.flushdb()
        gateway.set(f"{HEARTBEAT_PREFIX}dead", 0, px=int(REMEMBERED * 1000) + 2_300)
        result = promptyard("rollback", PROMPT, PROMPTYARD_STATE_REDIS_URL=state_redis.url)
    assert "no gateway runs" in result.stdout, result.output


@pytest.mark.parametrize(
    ("publication", "words"),
    [
        (Publication(7, 3, {}), "all 3 gateways serve by it, 12 ms after the commit"),
        (Publication(7, 0, {}), "no gateway runs"),
        (Publication(7, 3, {"g2": 6}), "1 of 3 gateways are late (g2)"),
        (Publication(7, 0, {}, "the state Redis did not answer"), "committed, not pushed"),
    ],
)
def test_what_was_reached_is_said(publication: Publication, words: str) -> None:
    assert words in said(publication, 12.3)


def test_neither_prefect_nor_mlflow_is_imported(environ: dict[str, str], two_versions: Engine) -> None:
    code = (
        "import sys\n"
        "from deployments.cli.main import build\n"
        f"build()(['rollback', '{PROMPT}'], standalone_mode=False)\n"
        "print(sorted({'prefect', 'mlflow', 'evidently', 'pandas', 'fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    assert production(two_versions) == "1.0.0"


def test_any_version_in_one_command(promptyard: Promptyard, two_versions: Engine, clock: ManualClock) -> None:
    add_version(two_versions, clock, "1.2.0")
    assert promptyard("rollback", PROMPT, "1.2.0").exit_code == 0
    assert production(two_versions) == "1.2.0"
    assert isinstance(promptyard("rollback", PROMPT, "1.0.0", "--to", "1.1.0").exception, Conflict)
    assert isinstance(promptyard("rollback", PROMPT, "9.9.9").exception, NotFound)
    assert production(two_versions) == "1.2.0"
