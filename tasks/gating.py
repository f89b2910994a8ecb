"""The gate: a version against the one in production on the same items; verdict, evidence, and where to look at it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.settings import Settings
from gateway.types import PromptVersion
from tasks import registry
from tasks.artifacts import markdown_table
from tasks.evaluated import SCORE, Evaluated, answers_of, item_results
from tasks.evaluated import table as item_table
from tasks.evaluation import Metrics, Rivals, evaluate
from tasks.evaluators.judge import judge_version
from tasks.gate_estimate import Estimate, Sizes, call_costs, estimate, left_for_repeats, over_budget
from tasks.gate_rules import build_metrics, gate_policy
from tasks.registration import engine_of
from tasks.releases import store
from tasks.releases.gate_record import gate_record
from tasks.specs.datasets import GoldenItem, digest
from tasks.specs.reading import SpecFile
from tasks.statistics.gate import GateOutcome, GatePolicy, GateVerdict, decide_gate
from tasks.statistics.gate_items import ItemResult
from tasks.statistics.repeats import RepeatPlan, plan_repeats
from tasks.step import step


@dataclass(frozen=True)
class Gated:
    """A verdict with its evidence: ``rows`` one per item, ``run_id`` the MLflow run, ``summary`` Markdown.

    ``items`` and ``policy`` are what was decided on: the same give the same verdict again.
    """

    version: PromptVersion
    baseline: str
    verdict: GateVerdict
    rows: Sequence[dict[str, Any]]
    metrics: dict[str, float]
    run_id: str
    summary: str
    decided_on: Mapping[str, Any] = field(default_factory=dict)
    """Items, policy and digests of the datasets as JSON: enough to take the decision again."""

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


@dataclass(frozen=True)
class _Runs:
    """Everything that was evaluated."""

    candidate: list[Evaluated]
    baseline: list[Evaluated] | None
    must_pass: list[Evaluated]
    live: list[Evaluated]
    live_before: list[Evaluated] | None

    def items(self) -> list[ItemResult]:
        return item_results(self.candidate, self.baseline, self.must_pass, self.live, self.live_before)

    def rows(self) -> list[dict[str, Any]]:
        return item_table(self.candidate, self.baseline, self.must_pass, self.live, self.live_before)

    def all(self) -> list[Evaluated]:
        return [*self.candidate, *(self.baseline or ()), *self.must_pass, *self.live, *(self.live_before or ())]


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
    facts: dict[str, Any] = {
        "estimate": expected.in_words(),
        "live_questions": len(live),
        "must_pass_digest": digest(file.must_pass),
        "live_digest": digest(live),
        "evaluators": ", ".join(f"{one.name} {one.version}" for one in metrics.evaluators) or "none",
    }
    if refused := over_budget(expected, gate.budget):
        verdict = GateVerdict(GateOutcome.ERROR, (f"nothing was asked: {refused}",), (), 0, (), ())
        summary = summarise(version, baseline, verdict, {}, [])
        return Gated(version, baseline.version if baseline else "", verdict, [], {}, "", summary, (), policy, facts)
    runs = _run(settings, file, version, baseline, live, metrics)
    plan = plan_repeats(runs.items(), SCORE, gate.more_repeats, left_for_repeats(expected, gate.budget))
    if baseline is not None and plan.items:
        runs = _repeat(settings, file, version, baseline, metrics, runs, plan)
    items = runs.items()
    verdict = _with_repeats(decide_gate(items, policy), plan, expected)
    rows = runs.rows()
    figures = _metrics(verdict, runs.candidate, runs.all())
    return Gated(
        version=version,
        baseline=baseline.version if baseline else "",
        verdict=verdict,
        rows=rows,
        metrics=figures,
        run_id="",
        summary=summarise(version, baseline, verdict, figures, rows),
        items=tuple(items),
        policy=policy,
        facts={**facts, "repeated_items": len(plan.items)},
    )


def _run(
    settings: Settings,
    file: SpecFile,
    version: PromptVersion,
    baseline: PromptVersion | None,
    live: Sequence[GoldenItem],
    metrics: Metrics,
) -> _Runs:
    """The planned repeats. The version in production goes first: its answers are the candidate's rivals."""
    gate, how = file.spec.gate, file.spec.background

    def ask(
        one: PromptVersion, items: Sequence[GoldenItem], extra: Metrics | None = None, rivals: Rivals | None = None
    ) -> list[Evaluated]:
        if not items:
            return []
        return evaluate(
            settings, one.tenant, one, items, gate, repeats=gate.repeats, background=how, metrics=extra, rivals=rivals
        )

    before = ask(baseline, file.golden, metrics) if baseline else None
    candidate = ask(version, file.golden, metrics, answers_of(before or ()))
    live_before = ask(baseline, live) if baseline else None
    must_pass = evaluate(
        settings,
        version.tenant,
        version,
        file.must_pass,
        gate,
        use_judge=False,
        repeats=gate.repeats,
        background=how,
    )
    return _Runs(candidate, before, must_pass, ask(version, live), live_before)


def _repeat(
    settings: Settings,
    file: SpecFile,
    version: PromptVersion,
    baseline: PromptVersion,
    metrics: Metrics,
    runs: _Runs,
    plan: RepeatPlan,
) -> _Runs:
    """The runs with golden items that changed, or are flaky, asked some times more under both versions."""
    gate = file.spec.gate
    again = [item for item in file.golden if item.id in plan.items]

    def ask(one: PromptVersion, rivals: Rivals | None = None) -> list[Evaluated]:
        rows = evaluate(
            settings,
            one.tenant,
            one,
            again,
            gate,
            repeats=plan.times,
            first_repeat=gate.repeats,
            background=file.spec.background,
            metrics=metrics,
            rivals=rivals,
        )
        return [replace(row, planned=False) for row in rows]

    before = ask(baseline)
    candidate = ask(version, answers_of(before))
    return replace(runs, candidate=[*runs.candidate, *candidate], baseline=[*(runs.baseline or ()), *before])


def _with_repeats(verdict: GateVerdict, plan: RepeatPlan, expected: Estimate) -> GateVerdict:
    """The verdict with a word on what was repeated, and on what the budget left out."""
    if not plan.times or not (plan.items or plan.left_out):
        return verdict
    said = f"{len(plan.items)} items that changed or are flaky were asked {plan.times} times more"
    if plan.left_out:
        said += f"; the budget left out {plan.left_out} more, each of {plan.times * expected.each_calls} calls"
    return replace(verdict, reasons=(*verdict.reasons, said))


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
