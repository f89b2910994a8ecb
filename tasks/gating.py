"""The gate: a version against the one in production on the same items; verdict, evidence, and where to look at it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.settings import Settings
from gateway.types import PromptVersion
from tasks import registry
from tasks.artifacts import artifact_key, markdown_table
from tasks.evaluated import SCORE, Evaluated
from tasks.evaluators.judge import judge_version
from tasks.fan_out import Bar, fan_out
from tasks.gate_estimate import Estimate, Sizes, call_costs, estimate, left_for_repeats, over_budget
from tasks.gate_rules import build_metrics, gate_policy
from tasks.gate_runs import repeat, run_planned
from tasks.registration import engine_of
from tasks.releases import store
from tasks.releases.gate_record import gate_record
from tasks.specs.datasets import GoldenItem, digest
from tasks.specs.reading import SpecFile
from tasks.statistics.gate import GateOutcome, GateVerdict, decide_gate
from tasks.statistics.repeats import RepeatPlan, plan_repeats
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
    decided_on: Mapping[str, Any] = field(default_factory=dict)
    """Items, policy and digests of the datasets as JSON: enough to take the decision again."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else a reader of the run wants to know: the estimate, versions of evaluators, digests of the splits."""

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


def weigh(
    settings: Settings,
    file: SpecFile,
    version: PromptVersion,
    baseline: PromptVersion | None,
    live: Sequence[GoldenItem] = (),
) -> Gated:
    """Evaluate both versions and decide; ``live`` are questions without references that live users asked.

    Costs are of this run: what the cache answered was free. Over the gate's budget nothing is asked.
    """
    gate = file.spec.gate
    versions = [one for one in (version, baseline) if one is not None]
    expected = estimate(
        gate,
        Sizes(len(file.golden), len(file.must_pass), len(live), len(versions)),
        call_costs(engine_of(settings), versions, gate.judge.model),
        pack=file.spec.background.pack_size,
    )
    policy = gate_policy(gate, golden=len(file.golden), live=len(live), compared=baseline is not None)
    metrics = build_metrics(settings, file, version.tenant, policy)
    digests = {"golden": digest(file.golden), "must_pass": digest(file.must_pass), "live": digest(live)}
    facts: dict[str, Any] = {
        "estimate": expected.in_words(),
        "live_questions": len(live),
        "must_pass_digest": digests["must_pass"],
        "live_digest": digests["live"],
        "evaluators": ", ".join(f"{one.name} {one.version}" for one in metrics.evaluators) or "none",
    }
    against = baseline.version if baseline else ""
    if refused := over_budget(expected, gate.budget):
        verdict = GateVerdict(GateOutcome.ERROR, (f"nothing was asked: {refused}",), (), 0, (), ())
        return Gated(version, against, verdict, [], {}, "", summarise(version, baseline, verdict, {}, []), facts=facts)
    planned = gate.repeats * (len(versions) * (len(file.golden) + len(live)) + len(file.must_pass))
    with fan_out(settings, Bar(artifact_key("gate", version.name, "progress"), planned)) as spread:
        runs = run_planned(settings, file, version, baseline, live, metrics, spread)
        plan = plan_repeats(runs.items(), SCORE, gate.more_repeats, left_for_repeats(expected, gate.budget))
        if baseline is not None and plan.items:
            runs = repeat(settings, file, version, baseline, metrics, runs, plan, spread)
    items = runs.items()
    verdict = decide_gate(items, policy)
    rows = runs.rows()
    figures = _metrics(verdict, runs.candidate, runs.all())
    repeated = _repeats_in_words(plan, expected)
    return Gated(
        version=version,
        baseline=against,
        verdict=verdict,
        rows=rows,
        metrics=figures,
        run_id="",
        summary=summarise(version, baseline, verdict, figures, rows, repeated),
        decided_on={**gate_record(items, policy), "digests": digests},
        facts={**facts, "repeated": repeated or "nothing"},
    )


def _repeats_in_words(plan: RepeatPlan, expected: Estimate) -> str:
    """What was asked again, and what the budget left out; empty where nothing was worth it."""
    if not plan.times or not (plan.items or plan.left_out):
        return ""
    said = f"{len(plan.items)} items that changed or are flaky were asked {plan.times} times more"
    if plan.left_out:
        said += f"; the budget left out {plan.left_out} more, at {plan.times * expected.each_calls} calls each"
    return said


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
                **gated.facts,
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
            datasets=[
                registry.DatasetInput(name, digest(items), context)
                for name, items, context in (
                    (gate.golden, file.golden, "golden"),
                    (gate.must_pass, file.must_pass, "must-pass"),
                )
                if items
            ],
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
    repeated: str = "",
) -> str:
    """The verdict in Markdown: outcome, reasons, figures, and the items that fell most."""
    against = (
        f"against {baseline.version}, which is in production" if baseline else "the first version: absolute floors"
    )
    reasons = "\n".join(f"- {reason}" for reason in (*verdict.reasons, *([repeated] if repeated else [])))
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


def _metrics(verdict: GateVerdict, candidate: Sequence[Evaluated], every: Sequence[Evaluated]) -> dict[str, float]:
    values: dict[str, float] = {
        "items": float(len({row.item.id for row in candidate})),
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
    for name, value in _reported(candidate).items():
        values.setdefault(name, value)
    values["cost_usd"] = sum(row.cost_usd for row in every)
    values["not_evaluated"] = float(sum(bool(row.error) for row in every))
    return values


def _reported(candidate: Sequence[Evaluated]) -> dict[str, float]:
    """Means of what decides nothing: criteria of the judge without a floor, evaluators that only report."""
    found: dict[str, list[float]] = {}
    for row in candidate:
        for name, value in {**row.criteria, **row.metrics}.items() if row.planned and not row.error else ():
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}
