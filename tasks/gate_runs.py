"""What the gate asks, and in which order: both versions on the same items, then once more what changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.settings import Settings
from gateway.types import PromptVersion
from tasks.evaluated import Evaluated, answers_of, item_results, table
from tasks.evaluation import Metrics, Rivals, evaluate
from tasks.fan_out import FanOut
from tasks.specs.datasets import GoldenItem
from tasks.specs.reading import SpecFile
from tasks.statistics.gate_items import ItemResult
from tasks.statistics.repeats import RepeatPlan


@dataclass(frozen=True)
class Runs:
    """Everything that was evaluated."""

    candidate: list[Evaluated]
    baseline: list[Evaluated] | None
    must_pass: list[Evaluated]
    live: list[Evaluated]
    live_before: list[Evaluated] | None

    def items(self) -> list[ItemResult]:
        return item_results(self.candidate, self.baseline, self.must_pass, self.live, self.live_before)

    def rows(self) -> list[dict[str, Any]]:
        return table(self.candidate, self.baseline, self.must_pass, self.live, self.live_before)

    def all(self) -> list[Evaluated]:
        return [*self.candidate, *(self.baseline or ()), *self.must_pass, *self.live, *(self.live_before or ())]


def run_planned(
    settings: Settings,
    file: SpecFile,
    version: PromptVersion,
    baseline: PromptVersion | None,
    live: Sequence[GoldenItem],
    metrics: Metrics,
    spread: FanOut,
) -> Runs:
    """The planned repeats. The version in production goes first: its answers are the candidate's rivals."""
    gate, how = file.spec.gate, file.spec.background

    def ask(
        one: PromptVersion, items: Sequence[GoldenItem], extra: Metrics | None = None, rivals: Rivals | None = None
    ) -> list[Evaluated]:
        if not items:
            return []
        return evaluate(
            settings,
            one.tenant,
            one,
            items,
            gate,
            spread,
            repeats=gate.repeats,
            background=how,
            metrics=extra,
            rivals=rivals,
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
        spread,
        use_judge=False,
        repeats=gate.repeats,
        background=how,
    )
    return Runs(candidate, before, must_pass, ask(version, live), live_before)


def repeat(
    settings: Settings,
    file: SpecFile,
    version: PromptVersion,
    baseline: PromptVersion,
    metrics: Metrics,
    runs: Runs,
    plan: RepeatPlan,
    spread: FanOut,
) -> Runs:
    """The runs with golden items that changed, or are flaky, asked some times more under both versions."""
    gate = file.spec.gate
    again = [item for item in file.golden if item.id in plan.items]
    spread.bar.expect(2 * len(again) * plan.times)

    def ask(one: PromptVersion, rivals: Rivals | None = None) -> list[Evaluated]:
        rows = evaluate(
            settings,
            one.tenant,
            one,
            again,
            gate,
            spread,
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
