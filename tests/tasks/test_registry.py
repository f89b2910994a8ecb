"""MLflow as the place where people browse, on a SQLite file; and without it, a clear error at once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks import registry
from tasks.registration import read
from tasks.registry import RegistryUnavailable, RunRecord
from tests.tasks.specs.spec_files import changed, write_spec

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home: Path = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", (home / "artifacts").as_uri())
        yield f"sqlite:///{home / 'mlflow.db'}"


def register(uri: str, version: str, digest: str = "d", prompt: str = "help") -> str:
    template = [{"role": "user", "content": "{{question}}"}]
    return registry.register_version(
        uri,
        tenant="acme",
        prompt=prompt,
        version=version,
        template=template,
        digest=digest,
        author="",
        changelog="why",
    )


def test_a_version_is_registered_once_though_its_text_is_that_of_another(uri: str) -> None:
    assert [register(uri, "1.0.0"), register(uri, "1.0.0"), register(uri, "1.1.0", "e")] == ["1", "1", "2"]


def test_an_experiment_that_the_shell_names_is_another_servers(uri: str) -> None:
    with pytest.MonkeyPatch.context() as shell:
        shell.setenv("MLFLOW_EXPERIMENT_ID", "4711")
        assert register(uri, "1.0.0", prompt="from-a-busy-shell") == "1"


def test_aliases_follow_and_are_taken_away(uri: str) -> None:
    register(uri, "1.0.0", prompt="aliased")

    def aliases(**wanted: str) -> list[str]:
        return registry.set_aliases(uri, tenant="acme", prompt="aliased", aliases=wanted)

    assert aliases(production="1", canary="") == ["production → 1"]
    assert aliases(production="1", canary="1") == ["canary → 1"]
    assert aliases(production="1", canary="") == ["canary → nothing"]
    assert aliases(production="1", canary="") == []


def test_a_run_holds_figures_rows_and_texts(uri: str) -> None:
    record = RunRecord(
        experiment="promptyard/help",
        name="gate",
        params={"margin": 0.1, "long": "x" * 900},
        metrics={"score": 0.5},
        tags={"promptyard.kind": "gate"},
        table=[{"id": "a", "score": 1.0}, {"id": "b", "score": None}],
        texts={"verdict.md": "# pass"},
    )
    run_id = registry.log_run(uri, record)
    import mlflow

    run = mlflow.get_run(run_id)
    assert (run.data.params["margin"], run.data.metrics, run.info.status) == ("0.1", {"score": 0.5}, "FINISHED")
    assert len(mlflow.load_table("items.json", run_ids=[run_id])) == 2
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/verdict.md") == "# pass"


def test_a_releases_steps_are_one_run_that_ends(uri: str) -> None:
    import mlflow

    run_id = registry.open_run(uri, experiment="promptyard/help", name="canary", params={"release": "r"}, tags={})
    registry.log_step(uri, run_id, 1, {"weight_percent": 10.0})
    assert mlflow.get_run(run_id).info.status == "RUNNING"
    registry.log_step(uri, run_id, 2, {"weight_percent": 0.0}, ended=True)
    run = mlflow.get_run(run_id)
    assert (run.info.status, run.data.metrics["weight_percent"]) == ("FINISHED", 0.0)


@pytest.mark.parametrize(
    ("down", "words"),
    [
        ("http://127.0.0.1:1", "does not answer"),
        ("http://ada:secret@127.0.0.1:1", "does not answer"),
        ("", "no MLflow server is configured"),
    ],
)
@pytest.mark.parametrize(
    "work",
    [
        lambda uri: register(uri, "1.0.0"),
        lambda uri: registry.log_run(uri, RunRecord("e", "n")),
        lambda uri: registry.set_aliases(uri, tenant="acme", prompt="help", aliases={}),
    ],
)
def test_without_mlflow_everything_says_so_at_once(down: str, words: str, work: Callable[[str], object]) -> None:
    assert not registry.is_up(down)
    with pytest.raises(RegistryUnavailable, match=words) as refused:
        work(down)
    assert "promptyard up" in refused.value.hint
    assert refused.value.code == "registry_unavailable"


def test_names_of_other_tenants_go_in_front() -> None:
    assert registry.registry_name("default", "help") == "help"
    assert registry.registry_name("acme", "help") == "acme.help"


def test_a_dataset_is_read_by_its_name_and_is_an_input_of_the_run(uri: str) -> None:
    import mlflow

    mlflow.set_tracking_uri(uri)
    experiment = mlflow.create_experiment("datasets")
    made = mlflow.genai.create_dataset(name="questions", experiment_id=experiment)
    asked = {"inputs": {"question": "How much?"}, "expectations": {"expected_response": "€9."}, "tags": {"id": "g-1"}}
    made.merge_records([asked])
    (record,) = registry.dataset_records(uri, "questions")
    assert (record.inputs, record.expectations) == (asked["inputs"], asked["expectations"])
    assert record.tags["id"] == "g-1"
    with pytest.raises(LookupError):
        registry.dataset_records(uri, "others")

    inputs = [
        registry.DatasetInput("mlflow:questions", "a" * 64, "golden"),
        registry.DatasetInput("must_pass.jsonl", "b" * 64, "must-pass"),
    ]
    run = registry.log_run(uri, RunRecord(experiment="promptyard/help", name="gate", datasets=inputs))
    shown = mlflow.get_run(run).inputs.dataset_inputs
    tags = [{tag.key: tag.value for tag in one.tags} for one in shown]
    assert sorted(
        (one.dataset.name, tag["mlflow.data.context"], tag["digest"]) for one, tag in zip(shown, tags, strict=True)
    ) == [
        ("must_pass.jsonl", "must-pass", "b" * 64),
        ("questions", "golden", "a" * 64),
    ]


def test_a_dataset_of_mlflow_cannot_be_read_where_no_mlflow_is_configured(tmp_path: Path) -> None:
    path = write_spec(tmp_path, changed({"gate": {"golden": "mlflow:questions"}}))
    with pytest.raises(RegistryUnavailable, match="no MLflow server is configured"):
        read.fn(path, {}, "")
