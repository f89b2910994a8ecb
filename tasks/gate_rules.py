"""From a prompt.yaml's gate to what its decision holds every metric to, and to the evaluators that give the metrics."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.cache.semantic.layer import is_lexical
from gateway.settings import Settings
from gateway.types import Origin
from tasks.evaluated import LIVE_QUESTIONS, SCORE
from tasks.evaluation import Metrics
from tasks.evaluators.declared import declared
from tasks.evaluators.pairwise import Asked
from tasks.llm import LlmCall, client
from tasks.specs.model import GateSpec
from tasks.specs.reading import SpecFile
from tasks.statistics.comparison import fewest_items
from tasks.statistics.gate import GatePolicy
from tasks.statistics.gate_metric import MetricRule

MIN_ITEMS = 20


def gate_policy(gate: GateSpec, *, golden: int, live: int, compared: bool) -> GatePolicy:
    """The rules in order: the score, criteria with a floor, evaluators that decide, live questions.

    Live questions decide only when there are enough to show non-inferiority at all: a prompt that hardly anybody asks
    must not be held up by what cannot be known. A preference needs somebody to be preferred to.
    """
    rules = [MetricRule(SCORE, margin=gate.margin, floor=gate.floor)]
    rules += [MetricRule(name, margin=gate.margin, floor=gate.floors[name]) for name in sorted(gate.floors)]
    rules += [
        MetricRule(one.metric, margin=one.margin or gate.margin, floor=one.floor)
        for one in gate.evaluators
        if one.decides and (compared or one.type != "pairwise")
    ]
    if compared and live >= max(MIN_ITEMS, fewest_items(gate.margin, gate.alpha)):
        rules.append(MetricRule(LIVE_QUESTIONS, margin=gate.margin, floor=None))
    return GatePolicy(metrics=tuple(rules), alpha=gate.alpha, min_items=min(MIN_ITEMS, golden))


def build_metrics(settings: Settings, file: SpecFile, tenant: str, policy: GatePolicy) -> Metrics:
    """The declared evaluators with the process's embedder and judge; nothing is asked or loaded yet."""
    gate = file.spec.gate
    deciding = frozenset(rule.metric for rule in policy.metrics) - {SCORE, LIVE_QUESTIONS}
    if not gate.evaluators:
        return Metrics((), deciding)

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        known = client(settings)
        return known.run(known.gateway.embedder.embed(texts))

    def ask(asked: Sequence[Asked]) -> list[str]:
        calls = [
            LlmCall(
                tenant=tenant,
                origin=Origin.JUDGE,
                model=gate.judge.model,
                messages=one.messages,
                params={"temperature": 0},
                repeat=one.repeat,
            )
            for one in asked
        ]
        return [result.text for result in client(settings).complete(calls, background=file.spec.background)]

    needs_embedder = any(one.type == "similarity" for one in gate.evaluators)
    embedder = client(settings).gateway.embedder.name if needs_embedder else ""
    evaluators = declared(
        gate.evaluators,
        file.folder,
        embed=embed,
        embedder=embedder,
        lexical=is_lexical(embedder),
        ask=ask,
        model=gate.judge.model,
    )
    return Metrics(tuple(evaluators), deciding)
