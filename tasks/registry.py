"""MLflow: prompt versions, evaluation runs and release metrics. MLflow is imported inside the functions only.

What is here is a projection for people to browse. The truth is the ledger: nothing is read back from MLflow to decide.
"""

import json
import logging
import os
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from gateway.errors import StorageUnavailable
from tasks.specs.mlflow_datasets import Record, kept_in_mlflow

log = logging.getLogger(__name__)

PRODUCTION = "production"
CANARY = "canary"
HEALTH_TIMEOUT = 2.0


class RegistryUnavailable(StorageUnavailable):
    code = "registry_unavailable"
    default_hint = "Start MLflow ('promptyard up') and run the command again: what was done so far is kept."


@dataclass(frozen=True)
class RunRecord:
    """A run to log: ``table`` has one mapping per row, all with the same columns."""

    experiment: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    table: Sequence[Mapping[str, Any]] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence["DatasetInput"] = ()


@dataclass(frozen=True)
class DatasetInput:
    """A dataset that a run was made on: a file's name or ``mlflow:NAME``, SHA-256 (hex) of its items, and its use."""

    name: str
    digest: str
    context: str


def registry_name(tenant: str, prompt: str) -> str:
    """The prompt's name in MLflow: tenants other than ``default`` go in front."""
    return prompt if tenant == "default" else f"{tenant}.{prompt}"


def is_up(tracking_uri: str) -> bool:
    """Whether the MLflow server answers within two seconds; a file or SQL URI needs no server."""
    if not tracking_uri.startswith(("http://", "https://")):
        return bool(tracking_uri)
    try:
        with urllib.request.urlopen(f"{tracking_uri.rstrip('/')}/health", timeout=HEALTH_TIMEOUT) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, HTTPException, ValueError):
        return False


def register_version(
    tracking_uri: str,
    *,
    tenant: str,
    prompt: str,
    version: str,
    template: Sequence[Mapping[str, Any]],
    digest: str,
    author: str,
    changelog: str,
) -> str:
    """The MLflow version number of this semantic version; registered once, however often it is called.

    Raises RegistryUnavailable.
    """
    client = _mlflow(tracking_uri)
    name = registry_name(tenant, prompt)
    known = _find_version(client, name, version, digest)
    if known is not None:
        return known
    registered = client.genai.register_prompt(
        name=name,
        template=[dict(message) for message in template],
        commit_message=changelog or f"version {version}",
    )
    for key, value in {"semver": version, "digest": digest, "author": author, "tenant": tenant}.items():
        client.genai.set_prompt_version_tag(name, registered.version, key, value or "-")
    return str(registered.version)


def tag_version(tracking_uri: str, *, tenant: str, prompt: str, mlflow_version: str, tags: Mapping[str, str]) -> None:
    """Tag a registered version, for instance with its verdict. Raises RegistryUnavailable."""
    client = _mlflow(tracking_uri)
    for key, value in tags.items():
        client.genai.set_prompt_version_tag(registry_name(tenant, prompt), int(mlflow_version), key, value)


def set_aliases(tracking_uri: str, *, tenant: str, prompt: str, aliases: Mapping[str, str]) -> list[str]:
    """Make the aliases agree: alias → MLflow version, an empty version takes the alias away. Returns what changed.

    Raises RegistryUnavailable.
    """
    name = registry_name(tenant, prompt)
    if _agree_already(tracking_uri, name, aliases):
        return []
    client = _mlflow(tracking_uri)
    changed: list[str] = []
    for alias, wanted in aliases.items():
        current = _alias_version(client, name, alias)
        if current == wanted:
            continue
        if wanted:
            client.genai.set_prompt_alias(name, alias, int(wanted))
        elif current:
            client.genai.delete_prompt_alias(name, alias)
        changed.append(f"{alias} → {wanted or 'nothing'}")
    return changed


def alias_version(tracking_uri: str, *, tenant: str, prompt: str, alias: str) -> str:
    """The MLflow version that an alias names; empty where nothing has it. Raises RegistryUnavailable."""
    return _alias_version(_mlflow(tracking_uri), registry_name(tenant, prompt), alias)


def log_run(tracking_uri: str, record: RunRecord) -> str:
    """A finished run with parameters, metrics, tags, table and texts; returns its id. Raises RegistryUnavailable."""
    client = _mlflow(tracking_uri)
    client.set_experiment(record.experiment)
    with client.start_run(run_name=record.name, tags=dict(record.tags)) as run:
        client.log_params({key: str(value)[:500] for key, value in record.params.items()})
        client.log_metrics({key: float(value) for key, value in record.metrics.items()})
        if record.table:
            columns = list(record.table[0])
            client.log_table({name: [row[name] for row in record.table] for name in columns}, "items.json")
        for file, text in record.texts.items():
            client.log_text(text, file)
        for one in record.datasets:
            client.log_input(_as_input(client, one), context=one.context, tags={"digest": one.digest})
    return str(run.info.run_id)


def dataset_records(tracking_uri: str, name: str) -> list[Record]:
    """The records of a dataset by name. Raises LookupError where there is none, RegistryUnavailable."""
    found = _find_dataset(_mlflow(tracking_uri), name)
    if found is None:
        raise LookupError(name)
    rows = found.to_df().to_dict("records")
    return [Record(*(row.get(name) or {} for name in ("inputs", "expectations", "tags"))) for row in rows]


def _find_dataset(client: Any, name: str) -> Any:
    quoted = name.replace("'", "")
    found = client.genai.search_datasets(filter_string=f"name = '{quoted}'", max_results=2)
    return next((one for one in found if one.name == name), None)


def _as_input(client: Any, one: DatasetInput) -> Any:
    """What MLflow shows as the run's dataset: its own where it keeps it, else the file's name."""
    if kept := kept_in_mlflow(one.name):
        found = _find_dataset(client, kept)
        if found is not None:
            return found
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    return MetaDataset(
        CodeDatasetSource(tags={"file": one.name}), name=one.name, digest=one.digest[:36]
    )  # its column's width


@dataclass(frozen=True)
class LoggedRun:
    """What a run was logged with; ``rows`` of its table, empty where it has none."""

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    rows: Sequence[Mapping[str, Any]]


def read_run(tracking_uri: str, run_id: str) -> LoggedRun:
    """A run as ``log_run`` made it, for people to look at. Raises RegistryUnavailable, also where it is not there."""
    client = _mlflow(tracking_uri)
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id).data
        table = client.artifacts.load_dict(f"runs:/{run_id}/items.json")
    except MlflowException as error:
        raise RegistryUnavailable(f"MLflow has no run {run_id}: {error}"[:300]) from None
    columns = table.get("columns", [])
    return LoggedRun(
        dict(run.params), dict(run.metrics), [dict(zip(columns, row, strict=True)) for row in table.get("data", [])]
    )


def log_file(tracking_uri: str, experiment: str, name: str, path: str, metrics: Mapping[str, float]) -> str:
    """A finished run that holds one file, such as a drift report; returns its id. Raises RegistryUnavailable."""
    client = _mlflow(tracking_uri)
    client.set_experiment(experiment)
    with client.start_run(run_name=name) as run:
        client.log_metrics({key: float(value) for key, value in metrics.items()})
        client.log_artifact(path)
    return str(run.info.run_id)


def open_run(
    tracking_uri: str, *, experiment: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
) -> str:
    """A run that goes on, for a release's steps; returns its id. Raises RegistryUnavailable."""
    client = _mlflow(tracking_uri)
    known = client.set_experiment(experiment)
    store = client.MlflowClient()
    run = store.create_run(known.experiment_id, run_name=name, tags=dict(tags))
    for key, value in params.items():
        store.log_param(run.info.run_id, key, str(value)[:500])
    return str(run.info.run_id)


def log_step(tracking_uri: str, run_id: str, step: int, metrics: Mapping[str, float], *, ended: bool = False) -> None:
    """The metrics of one step of a release. Raises RegistryUnavailable."""
    client = _mlflow(tracking_uri)
    store = client.MlflowClient()
    for key, value in metrics.items():
        store.log_metric(run_id, key, float(value), step=step)
    if ended:
        store.set_terminated(run_id)


def log_texts(tracking_uri: str, run_id: str, texts: Mapping[str, str]) -> None:
    """Files of a run, by path; one of the same name is replaced. Raises RegistryUnavailable, also without that run."""
    client = _mlflow(tracking_uri)
    from mlflow.exceptions import MlflowException

    try:
        store = client.MlflowClient()
        for file, text in texts.items():
            store.log_text(run_id, text, file)
    except MlflowException as error:
        raise RegistryUnavailable(f"MLflow does not take files for run {run_id}: {error}"[:300]) from None


def _find_version(client: Any, name: str, version: str, digest: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        found = client.genai.search_prompts(filter_string=f"name = '{name}'")
        if not list(found):
            return None
        for candidate in client.MlflowClient().search_prompt_versions(name):
            tags = candidate.tags or {}
            if tags.get("semver") == version and tags.get("digest") == digest:
                return str(candidate.version)
    except MlflowException as error:
        log.debug("no version of %s was found: %s", name, error)
    return None


def _agree_already(tracking_uri: str, name: str, aliases: Mapping[str, str]) -> bool:
    """Whether there is nothing to set, by MLflow's REST API (``registered-models/get``); false where it does not tell.

    Asked every minute for every prompt: importing MLflow for it takes six seconds of a core.
    """
    if not tracking_uri.startswith(("http://", "https://")):
        return False
    path = f"/api/2.0/mlflow/registered-models/get?{urllib.parse.urlencode({'name': name})}"
    try:
        with urllib.request.urlopen(tracking_uri.rstrip("/") + path, timeout=HEALTH_TIMEOUT) as answer:  # noqa: S310
            model = json.load(answer)["registered_model"]
        there = {str(one["alias"]): str(one["version"]) for one in model.get("aliases", ())}
    except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError):  # URL errors are OSErrors
        return False
    return all(there.get(alias, "") == wanted for alias, wanted in aliases.items())


def _alias_version(client: Any, name: str, alias: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.MlflowClient().get_prompt_version_by_alias(name, alias).version)
    except MlflowException:
        return ""


def _mlflow(tracking_uri: str) -> Any:
    """The mlflow module, bound to the server and bounded in time. Raises RegistryUnavailable."""
    if not is_up(tracking_uri):
        raise RegistryUnavailable("MLflow does not answer" if tracking_uri else "no MLflow server is configured")
    for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        os.environ.pop(name, None)  # of the shell, or of an earlier record: on this server it may be unknown
    # A server that dies half-way must not hold a run for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_MODEL_CATALOG_URI", "")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    import mlflow.genai

    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    return mlflow
