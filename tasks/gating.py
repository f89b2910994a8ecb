"""The gate: a version against the one in production on the same items; verdict, evidence, and where to look at it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.settings import Settings
from gateway.types import PromptVersion
from tasks import registry
from tasks.artifacts import markdown_table
from tasks.evaluation import SCORE, Evaluated, evaluate, item_results
from tasks.evaluation import table as item_table
from tasks.evaluators.judge import judge_version
from tasks.registration import engine_of
from tasks.releases import store
from tasks.specs.datasets import digest
from tasks.specs.reading import SpecFile
from tasks.statistics.gate import GateOutcome, GatePolicy, GateVerdict, decide_gate
from tasks.statistics.gate_metric import MetricRule
from tasks.step import step


@dataclass(frozen=True)
class Gated:
    """A verdict with its evidence: ``rows`` one per item, ``run_id`` the MLflow run, ``summary`` Markdown."""

    version: PromptVersion
    baseline: str
    verdict: GateVerdict
    rows: Sequence[dict[str, Any]]
    metrics: dict[str, float]
    run_id: str
    summary: str

    @property
    def passed(self) -> bool:
        return self.verdict.outcome is GateOutcome.PASS


@step("version in production")
def production_version(settings: Settings, tenant: str, prompt: str) -> PromptVersion | None:
    """What serves now, None before the first promotion."""
    engine = engine_of(settings)
    current = store.get_prompt(engine, tenant, prompt).production
    if not current:
        return None
    return msgspec.convert(store.get_version(engine, tenant, prompt, current).bundle, PromptVersion)


def weigh(settings: Settings, file: SpecFile, version: PromptVersion, baseline: PromptVersion | None) -> Gated:
    """Evaluate both versions and decide. Costs are of this run: what the cache answered was free."""
    gate, tenant, how = file.spec.gate, version.tenant, file.spec.background
    candidate = evaluate(settings, tenant, version, file.golden, gate, repeats=gate.repeats, background=how)
    before = (
        evaluate(settings, tenant, baseline, file.golden, gate, repeats=gate.repeats, background=how)
        if baseline
        else None
    )
    must_pass = evaluate(
        settings, tenant, version, file.must_pass, gate, use_judge=False, repeats=gate.repeats, background=how
    )
    policy = GatePolicy(
        metrics=(MetricRule(SCORE, margin=gate.margin, floor=gate.floor),),
        alpha=gate.alpha,
        min_items=min(20, len(file.golden)),
    )
    verdict = decide_gate(item_results(candidate, before, must_pass), policy)
    rows = item_table(candidate, before, must_pass)
    metrics = _metrics(verdict, candidate, before, must_pass)
    return Gated(
        version=version,
        baseline=baseline.version if baseline else "",
        verdict=verdict,
        rows=rows,
        metrics=metrics,
        run_id="",
        summary=summarise(version, baseline, verdict, metrics, rows),
    )


@step("log evaluation to MLflow")
def log_evaluation(settings: Settings, file: SpecFile, gated: Gated, flow_run_url: str) -> str:
    """An MLflow run with parameters, metrics, items and verdict; the version is tagged. Returns the run's id."""
    gate, version = file.spec.gate, gated.version
    run_id = registry.log_run(
        settings.mlflow_tracking_uri,
        registry.RunRecord(
            experiment=f"promptyard/{registry.registry_name(version.tenant, version.name)}",
            name=f"gate {version.version}" + (f" against {gated.baseline}" if gated.baseline else ""),
            params={
                "version": version.version,
                "baseline": gated.baseline or "none",
                "digest": version.digest,
                "golden_digest": digest(file.golden),
                "judge": gate.judge.model,
                "judge_version": judge_version(gate.judge.model, gate.judge.criteria, file.spec.background.pack_size),
                "chain": " → ".join(map(str, version.chain)),
                "margin": gate.margin,
                "floor": gate.floor,
                "alpha": gate.alpha,
                "repeats": gate.repeats,
            },
            metrics=gated.metrics,
            tags={
                "promptyard.kind": "gate",
                "promptyard.verdict": gated.verdict.outcome.value,
                "promptyard.flow_run": flow_run_url,
                "mlflow.note.content": gated.summary,
            },
            table=gated.rows,
            texts={"verdict.md": gated.summary},
        ),
    )
    engine = engine_of(settings)
    row = store.get_version(engine, version.tenant, version.name, version.version)
    store.note_version(
        engine,
        version.tenant,
        version.name,
        version.version,
        verdict=gated.verdict.outcome.value,
        gate_run=run_id,
    )
    if row.mlflow_version:
        registry.tag_version(
            settings.mlflow_tracking_uri,
            tenant=version.tenant,
            prompt=version.name,
            mlflow_version=row.mlflow_version,
            tags={"verdict": gated.verdict.outcome.value, "gate_run": run_id},
        )
    return run_id


def summarise(
    version: PromptVersion,
    baseline: PromptVersion | None,
    verdict: GateVerdict,
    metrics: dict[str, float],
    rows: Sequence[dict[str, Any]],
) -> str:
    """The verdict in Markdown: outcome, reasons, figures, and the items that fell most."""
    against = (
        f"against {baseline.version}, which is in production" if baseline else "the first version: absolute floors"
    )
    reasons = "\n".join(f"- {reason}" for reason in verdict.reasons)
    worst = [row for row in rows if (row["kind"] == "must-pass" and not row["passed"]) or _fell(row)]
    shown = [
        {
            "item": row["id"],
            "question": row["question"],
            "before": row["score before"],
            "now": row["score"],
            "answer now": row["answer"],
            "why": row["why"],
        }
        for row in worst[:10]
    ]
    figures = [
        {
            "metric": name.replace("_", " "),
            "value": int(value) if value == int(value) and "score" not in name else value,
        }
        for name, value in metrics.items()
    ]
    return (
        f"# {version.name} {version.version}: **{verdict.outcome.value}**\n\n{against}\n\n{reasons}\n\n"
        f"{markdown_table(figures)}\n## What fell\n\n{markdown_table(shown, limit=10)}"
    )


def _fell(row: dict[str, Any]) -> bool:
    now, before = row["score"], row["score before"]
    return now is not None and before is not None and now < before


def _metrics(
    verdict: GateVerdict,
    candidate: Sequence[Evaluated],
    before: Sequence[Evaluated] | None,
    must_pass: Sequence[Evaluated],
) -> dict[str, float]:
    values: dict[str, float] = {
        "items": float(len(candidate)),
        "must_pass_failed": float(len(verdict.must_pass_failed)),
    }
    for one in verdict.metrics:
        name = one.rule.metric
        values[name] = one.candidate.mean
        if one.baseline_mean is not None:
            values[f"{name}_baseline"] = one.baseline_mean
        if one.difference is not None:
            values[f"{name}_difference"] = one.difference.mean
            values[f"{name}_difference_lower"] = one.difference.lower
            values[f"{name}_difference_upper"] = one.difference.upper
    every = [*candidate, *(before or ()), *must_pass]
    values["cost_usd"] = sum(row.cost_usd for row in every)
    values["not_evaluated"] = float(sum(bool(row.error) for row in every))
    return values
