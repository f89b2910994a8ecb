"""Near misses, what each guard costs, and paraphrases: at thresholds that were fitted elsewhere."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from gateway.cache.semantic.guards import veto
from tasks.statistics.semantic_threshold import fit_threshold
from tests.bench.semantic_data import Material
from tests.bench.semantic_serving import Choice, Method, Rate, Served, choose, serve
from tests.bench.semantic_tables import add_rates, add_served, figures_of, rates_table, served_table

_SERVED = "none: served"


def near_misses(material: Material, thresholds: Mapping[Method, float], console: Console) -> dict[str, Any]:
    """Each near miss asked of a cache that holds the question it was made from, and nothing else."""
    named = [f"{method.name} ({value:.3f})" for method, value in thresholds.items()]
    table = rates_table("near misses that would be served", "edit", "pairs", "guards alone", *named)
    vetoed = [bool(veto(asked, kept)) for asked, kept, _ in material.near_misses]
    edits = [edit for _, _, edit in material.near_misses]
    figures: dict[str, Any] = {}
    for edit in ("all", *sorted(set(edits))):
        places = [place for place, one in enumerate(edits) if edit in ("all", one)]
        rates = {"guards alone": Rate(sum(not vetoed[at] for at in places), len(places))}
        for method, threshold in thresholds.items():
            similar = [at for at in places if material.near_miss_similarity[at] >= threshold]
            served = [at for at in similar if not (method.guarded and vetoed[at])]
            rates[method.name] = Rate(len(served), len(places))
        table.add_row(edit, str(len(places)), *map(str, rates.values()))
        figures[edit] = {name: rate.share for name, rate in rates.items()}
    console.print(table)
    return figures | _among_all(material, thresholds, console)


def _among_all(material: Material, thresholds: Mapping[Method, float], console: Console) -> dict[str, Any]:
    """Each near miss asked of all training questions: the question it was made from, and all those around it."""
    table = rates_table("near misses asked of all training questions", "", "served", "with the source's answer")
    figures: dict[str, Any] = {}
    known = [place for place, answer in enumerate(material.near_missed.answers) if answer]
    asked = material.near_missed.take(known)
    for method, threshold in thresholds.items():
        served = serve(choose(asked, material.train, method), threshold)
        add_rates(table, method.name, [served.hit_rate, Rate(served.hits - served.wrong, served.asked)])
        figures[f"{method.name}, among all"] = [served.hit_rate.share, (served.hits - served.wrong) / served.asked]
    console.print(table)
    return figures


def guards(material: Material, nearest: Sequence[Choice | None], floor: float, console: Console) -> dict[str, Any]:
    """What each guard vetoes of the nearest questions that are as similar as ``floor``, and of the near misses."""
    firing: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for asked, one in zip(material.test.texts, nearest, strict=True):
        if one is not None and one.value >= floor:
            firing[one.right][veto(asked, one.kept) or _SERVED] += 1
    missed = Counter(veto(asked, near) or _SERVED for asked, near, _ in material.near_misses)
    columns = (firing[True], firing[False], missed)
    table = rates_table(
        f"what the guards veto: nearest questions from {floor:.3f} on, and near misses (first reason counts)",
        "guard",
        "of right hits (cost)",
        "of wrong hits",
        "of near misses",
    )
    figures: dict[str, Any] = {}
    for reason in (*sorted({reason for column in columns for reason in column} - {_SERVED}), _SERVED):
        rates = [Rate(column[reason], column.total()) for column in columns]
        add_rates(table, reason, rates)
        figures[reason] = [rate.share for rate in rates]
    console.print(table)
    return figures


def paraphrases(
    material: Material,
    methods: Sequence[Method],
    thresholds: Mapping[Method, float],
    max_wrong: float,
    console: Console,
) -> dict[str, Any]:
    """Each paraphrase asked of all originals; at a threshold fitted on the other half, and at BANKING77's."""
    table = served_table("paraphrases of gptcache_mock", "threshold")
    figures: dict[str, Any] = {}

    def add(name: str, served: Served, threshold: str) -> None:
        add_served(table, name, served, threshold)
        figures[name] = figures_of(served)

    for method in methods:
        choices = choose(material.paraphrases, material.originals, method)
        if not method.voting and not method.guarded:
            add(f"{method.name} at 0.95", serve(choices, 0.95), "0.950 (given)")
        halves = (choices[0::2], choices[1::2])
        fits = [_fitted(half, max_wrong) for half in halves]
        served = [serve(half, fit) for half, fit in zip(halves, reversed(fits), strict=True) if fit is not None]
        if len(served) == len(halves):
            both = Served(*(sum(part) for part in zip(*(_counts(one) for one in served), strict=True)))
            add(f"{method.name}, fitted on the other half", both, " and ".join(f"{fit:.3f}" for fit in fits if fit))
        else:
            table.add_row(f"{method.name}, fitted on the other half", "none")
        if method in thresholds:
            add(f"{method.name}, fitted on BANKING77", serve(choices, thresholds[method]), f"{thresholds[method]:.3f}")
    console.print(table)
    return figures


def _fitted(choices: Sequence[Choice | None], max_wrong: float) -> float | None:
    pairs = [one.pair for one in choices if one is not None]
    return fit_threshold(pairs, max_wrong=max_wrong, questions=len(choices)).threshold


def _counts(served: Served) -> tuple[int, int, int]:
    return served.asked, served.hits, served.wrong
