"""Drift of a prompt's live traffic: the calls of now against those before, as columns, embeddings and a report."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, and_, select

from gateway.clock import Clock
from gateway.ledger.queries import calls_between
from gateway.settings import Settings
from gateway.storage.engine import reading
from gateway.storage.models import CallRow, PromptRow, ScoreRow
from gateway.types import Layer, Origin
from tasks import registry
from tasks.evaluators.assertions import cited
from tasks.once import announce_once
from tasks.registration import engine_of
from tasks.releases import store
from tasks.releases.evidence import QUALITY
from tasks.statistics.drift import Columns, DriftVerdict, column_threshold, comparable, one_per_user
from tasks.statistics.mmd import Mmd, mmd_test
from tasks.step import step

DETECTED = "promptyard.drift.detected"
MAX_CALLS = 5_000
MAX_EMBEDDED = 500
"""Questions of each window that are embedded: a remote embedder costs money."""


@dataclass(frozen=True)
class Watched:
    """A prompt in production: ``source`` is the file its version was registered from."""

    tenant: str
    prompt: str
    version: str
    source: str


@dataclass(frozen=True)
class Window:
    """The calls of an interval [since, until), at most one of each user, oldest first."""

    since: float
    until: float
    calls: int
    columns: Columns
    questions: tuple[str, ...]

    @property
    def rows(self) -> int:
        return len(self.questions)


@dataclass(frozen=True)
class Compared:
    """p-values by column (Kolmogorov–Smirnov), and Evidently's report as a page that stands alone."""

    p_values: Mapping[str, float]
    html: str


@step("prompts in production")
def watched_prompts(settings: Settings, tenant: str, prompt: str) -> list[Watched]:
    """Of one tenant or, if empty, of all; of one prompt or, if empty, of all."""
    engine = engine_of(settings)
    chosen = [
        row
        for row in store.list_prompts(engine, tenant or None)
        if row.production and (not prompt or row.name == prompt)
    ]
    return [_watched(engine, row) for row in chosen]


def _watched(engine: Engine, row: PromptRow) -> Watched:
    version = store.get_version(engine, row.tenant, row.name, row.production)
    return Watched(row.tenant, row.name, row.production, version.source)


@step("window of calls")
def window(settings: Settings, watched: Watched, since: float, until: float) -> Window:
    """The live calls of a prompt; of more than 5,000 the newest."""
    engine = engine_of(settings)
    calls = calls_between(engine, watched.tenant, watched.prompt, since, until, limit=MAX_CALLS)
    kept = set(one_per_user(calls))
    rows = [call for call in calls if call.id in kept and call.question is not None]
    quality = _quality(engine, watched, since, until)
    return Window(
        since=since,
        until=until,
        calls=len(calls),
        columns=columns_of(rows, quality, watched.version),
        questions=tuple(call.question or "" for call in rows),
    )


def columns_of(calls: Sequence[CallRow], quality: Mapping[str, float], version: str) -> dict[str, list[float | None]]:
    """What users send is compared over all versions, what they get only over ``version``: a promotion is no drift.

    Latency and cost are those of answers that a provider made; ``quality`` is the judge's score by call id.
    """
    table: dict[str, list[float | None]] = {
        "question_characters": [],
        "question_words": [],
        "answer_words": [],
        "citations": [],
        "documents": [],
        "latency_ms": [],
        "cost_usd": [],
        "quality": [],
    }
    for call in calls:
        answered = call.version == version and call.status == "ok" and call.answer is not None
        made = answered and call.layer == Layer.NONE
        question, answer = call.question or "", call.answer or ""
        row: dict[str, float | None] = {
            "question_characters": float(len(question)),
            "question_words": float(len(question.split())),
            "answer_words": float(len(answer.split())) if answered else None,
            "citations": float(len(cited(answer))) if answered else None,
            "documents": float(len(call.documents)) if answered else None,
            "latency_ms": call.latency_ms if made else None,
            "cost_usd": float(call.cost_usd) if made and call.cost_usd is not None else None,
            "quality": quality.get(call.id) if answered else None,
        }
        for name, value in row.items():
            table[name].append(value)
    return table


def _quality(engine: Engine, watched: Watched, since: float, until: float) -> dict[str, float]:
    wanted = (
        select(ScoreRow.call_id, ScoreRow.value)
        .join(CallRow, and_(CallRow.id == ScoreRow.call_id, CallRow.tenant == ScoreRow.tenant))
        .where(CallRow.tenant == watched.tenant, CallRow.prompt == watched.prompt, CallRow.origin == Origin.LIVE.value)
        .where(CallRow.started_at >= since, CallRow.started_at < until)
        .where(ScoreRow.metric == QUALITY, ScoreRow.source == "judge")
    )
    with reading(engine) as session:
        return dict(session.execute(wanted).tuples().all())


@step("Evidently report")
def compare(current: Window, reference: Window, alpha: float, min_rows: int) -> Compared:
    """Evidently's DataDriftPreset over the columns that both windows have enough of; empty when there is none."""
    names = comparable(current.columns, reference.columns, min_rows)
    if not names:
        return Compared({}, "")
    import pandas as pd  # with Evidently 300 MB and seconds: not for those who only import this module
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=list(names))

    def dataset(one: Window) -> Any:
        frame = pd.DataFrame({name: pd.Series(one.columns[name], dtype="float64") for name in names})
        return Dataset.from_pandas(frame, data_definition=definition)

    preset = DataDriftPreset(
        columns=list(names), num_method="ks", num_threshold=column_threshold(alpha, len(names)), drift_share=0.5
    )
    snapshot = Report([preset], include_tests=True).run(dataset(current), dataset(reference))
    values = {
        metric["config"]["column"]: float(metric["value"])
        for metric in snapshot.dict()["metrics"]
        if "column" in metric["config"]
    }
    with tempfile.TemporaryDirectory(prefix="promptyard-drift-") as folder:
        file = Path(folder) / "drift.html"
        snapshot.save_html(str(file))
        return Compared(values, file.read_text(encoding="utf-8"))


def newest_questions(of: Window) -> list[str]:
    """As many as are embedded."""
    return list(of.questions[-MAX_EMBEDDED:])


@step("MMD of embeddings")
def compare_embeddings(current: np.ndarray, reference: np.ndarray, seed: int) -> Mmd:
    """Rows are embedded questions; the same seed gives the same p-value."""
    return mmd_test(current, reference, np.random.default_rng(seed))


def keep_report(settings: Settings, watched: Watched, html: str, metrics: Mapping[str, float]) -> str:
    """The report and its figures as a run; its id. Raises RegistryUnavailable."""
    name = registry.registry_name(watched.tenant, watched.prompt)
    with tempfile.TemporaryDirectory(prefix="promptyard-drift-") as folder:
        file = Path(folder) / "drift.html"
        file.write_text(html or "<p>No column has enough values to be compared.</p>", encoding="utf-8")
        return registry.log_file(
            settings.mlflow_tracking_uri,
            f"promptyard/{name}",
            f"drift of {watched.prompt} {watched.version}",
            str(file),
            metrics,
        )


@step("announce drift")
def announce(settings: Settings, clock: Clock, watched: Watched, verdict: DriftVerdict, day: str) -> bool:
    """The event for automations, once a version and UTC day: windows overlap, and one shift is one piece of news."""
    return announce_once(
        engine_of(settings),
        clock,
        DETECTED,
        f"promptyard.prompt.{watched.tenant}.{watched.prompt}",
        {
            "tenant": watched.tenant,
            "prompt": watched.prompt,
            "version": watched.version,
            "drifted": list(verdict.drifted),
            "reasons": list(verdict.reasons),
        },
        (watched.tenant, watched.prompt, watched.version, day),
    )
