"""How often the semantic layer hits, and how often wrongly, on real questions: with guards and without, by similarity
and by score, at a threshold that is fitted and proved on one stream before it serves another.

BANKING77's training questions come as a stream, in random order: the first part only fills the cache, the second fits
the threshold, the third proves it. Then the test questions are served from all of it. The intent is the judge, and all
questions of an intent have one answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console

from tasks.statistics.semantic_bound import Proof, ProofPair, prove
from tasks.statistics.semantic_threshold import ThresholdFit, fit_threshold
from tests.bench.semantic_checks import guards, near_misses, paraphrases
from tests.bench.semantic_data import Material, Questions, load, why_not
from tests.bench.semantic_decided import decided
from tests.bench.semantic_serving import METHODS, Choice, Method, Served, choose, serve
from tests.bench.semantic_tables import add_served, figures_of, served_table
from tests.bench.semantic_trials import TARGET, simulated_scopes

MAX_WRONG = 0.03
PRECISION = 0.98
PARAPHRASES_MAX_WRONG = 0.05
FIXED = (0.95, 0.97)
"""Thresholds for the nearest question alone, for comparison."""

MOST_NEAR_MISSES = 0.02
FEWEST_HITS = 0.08
FEWEST_PARAPHRASES = 0.30
REWORDED = replace(METHODS[-1], name="score, guards, answers reworded")
_JUDGED = METHODS[-1].name
"""What the targets are for."""
_SEED = 77


@dataclass(frozen=True)
class Earned:
    """A method's threshold, what proved it, and what it does to another stream: None of these without a threshold."""

    method: Method
    fit: ThresholdFit
    proof: Proof | None
    served: Served | None
    choices: Sequence[Choice | None]
    """What would be served for each question of the other stream, from any value on."""


def run(seconds: float, console: Console) -> dict[str, Any]:
    """Measure, print, and return the figures; ``seconds`` has no meaning here."""
    if reason := why_not():
        console.print(f"skipped: {reason}", style="yellow")
        return {"skipped": reason}
    try:
        with console.status("semantic: embedding"):
            material = load()
    except ValueError as trouble:
        console.print(f"skipped: {trouble}", style="yellow")
        return {"skipped": str(trouble)}
    console.print(f"embedder {material.embedder}; max_wrong {MAX_WRONG:.0%}; thresholds fitted for {PRECISION:.0%}")
    stream = shuffled(material.train)
    earned = [earn(stream, material.test, method) for method in METHODS]
    thresholds = {one.method: one.fit.threshold for one in earned if one.fit.threshold is not None}
    earned.append(earn(stream.reworded(), material.test, REWORDED))
    nearest = earned[0]
    figures = {
        "banking77": _print_served(earned, console),
        "decided": decided(stream, material.test, METHODS[-1], MAX_WRONG, PRECISION, console),
        "held_out_intents": _held_out(material, console),
        "near_misses": near_misses(material, thresholds, console),
        "guards": guards(material, nearest.choices, nearest.fit.threshold or FIXED[0], console),
        "paraphrases": paraphrases(material, METHODS, thresholds, PARAPHRASES_MAX_WRONG, console),
        "simulated": simulated_scopes(MAX_WRONG, console),
    }
    violations = _violations(figures)
    for violation in violations:
        console.print(violation, style="red")
    return {**figures, "violations": violations}


def shuffled(questions: Questions) -> Questions:
    """The stream: the file is sorted by intent."""
    return questions.take([int(place) for place in np.random.default_rng(_SEED).permutation(len(questions))])


def earn(stream: Questions, test: Questions, method: Method) -> Earned:
    """Fill with a quarter of the stream, fit on the next three eighths, prove on the rest, then serve ``test``."""
    choices = choose(stream, stream, method, known=np.arange(len(stream)))
    filled, fitted = len(stream) // 4, len(stream) * 5 // 8
    pairs = [one.pair for one in choices[filled:fitted] if one is not None]
    fit = fit_threshold(pairs, max_wrong=1.0 - PRECISION, questions=fitted - filled)
    tested = choose(test, stream, method)
    if fit.threshold is None:
        return Earned(method, fit, None, None, tested)
    hits = [one for one in choices[fitted:] if one is not None and one.value >= fit.threshold]
    proof = prove([ProofPair(not one.right) for one in hits], max_wrong=MAX_WRONG)
    return Earned(method, fit, proof, serve(tested, fit.threshold), tested)


def _print_served(earned: Sequence[Earned], console: Console) -> dict[str, Any]:
    table = served_table("BANKING77: test questions served from the training ones", "threshold", "proved after")
    figures: dict[str, Any] = {}
    for threshold in FIXED:
        served = serve(earned[0].choices, threshold)
        add_served(table, f"nearest alone at {threshold}", served, f"{threshold:.3f} (given)", "")
        figures[f"nearest alone at {threshold}"] = figures_of(served)
    for one in earned:
        if one.proof is None or one.served is None:
            table.add_row(one.method.name, "none")
            figures[one.method.name] = {"threshold": None, "reason": one.fit.reason}
            continue
        after = f"{one.proof.served_from} hits" if one.proof.served_from else f"not in {one.proof.pairs}: not served"
        add_served(table, one.method.name, one.served, f"{one.fit.threshold:.3f}", after)
        figures[one.method.name] = figures_of(one.served) | {
            "threshold": one.fit.threshold,
            "state": str(one.proof.state),
            "proved_after": one.proof.served_from,
            "proof": [one.proof.pairs, one.proof.wrong, one.proof.lower, one.proof.upper],
        }
    console.print(table)
    return figures


def _held_out(material: Material, console: Console) -> dict[str, Any]:
    """Is what was fitted on some intents right on others, that took no part?"""
    table = served_table("the same, fitted on one half of the intents and served on the other", "threshold")
    figures: dict[str, Any] = {}
    intents = sorted(set(material.train.answers))
    for number in range(2):
        mine, others = set(intents[number::2]), set(intents[1 - number :: 2])
        for method in (one for one in METHODS if one.guarded):
            name = f"{method.name}, half {number + 1}"
            fit = earn(shuffled(_of(material.train, mine)), _of(material.test, mine), method).fit
            if fit.threshold is None:
                table.add_row(name, "none")
                figures[name] = {"threshold": None, "reason": fit.reason}
                continue
            served = serve(choose(_of(material.test, others), _of(material.train, others), method), fit.threshold)
            add_served(table, name, served, f"{fit.threshold:.3f}")
            figures[name] = figures_of(served) | {"threshold": fit.threshold}
    console.print(table)
    return figures


def _of(questions: Questions, answers: set[int]) -> Questions:
    return questions.take([place for place, answer in enumerate(questions.answers) if answer in answers])


def _violations(figures: dict[str, Any]) -> list[str]:
    """Targets that were missed."""
    found: list[str] = []

    def expect(what: str, value: float | None, *, most: float = 1.0, least: float = 0.0) -> None:
        if value is None or not least <= value <= most:
            found.append(f"{what}: {'nothing' if value is None else f'{value:.2%}'}, not in [{least:.0%}, {most:.0%}]")

    served = figures["banking77"][_JUDGED]
    expect("near misses served", figures["near_misses"]["all"].get(_JUDGED), most=MOST_NEAR_MISSES)
    expect("wrong per hit", served.get("wrong per hit", [None])[0], most=MAX_WRONG)
    expect("hits", served.get("hits", [None])[0], least=FEWEST_HITS)
    if served.get("proved_after") is None:
        found.append("the scope did not earn to serve")
    paraphrased = figures["paraphrases"].get(f"{_JUDGED}, fitted on the other half", {})
    expect("paraphrases hit", paraphrased.get("hits", [None])[0], least=FEWEST_PARAPHRASES)
    expect("wrong per paraphrase hit", paraphrased.get("wrong per hit", [None])[0], most=PARAPHRASES_MAX_WRONG)
    expect("scopes just above max_wrong that ever serve", figures["simulated"]["ever_serves"], most=TARGET)
    return found
