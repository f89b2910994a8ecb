"""The evaluators that a prompt.yaml declares, built with what they need of the world."""

from collections.abc import Sequence
from pathlib import Path

from tasks.evaluators.base import Evaluator
from tasks.evaluators.pairwise import Ask, Pairwise
from tasks.evaluators.similarity import Embed, Similarity
from tasks.evaluators.user_function import UserFunction
from tasks.specs.model import EvaluatorSpec


def declared(
    specs: Sequence[EvaluatorSpec], folder: Path, *, embed: Embed, embedder: str, lexical: bool, ask: Ask, model: str
) -> list[Evaluator]:
    """In order. ``ask`` and ``model``: the judge that compares pairs. Raises FunctionError."""
    found: list[Evaluator] = []
    for one in specs:
        if one.type == "similarity":
            found.append(Similarity(embed, embedder, lexical=lexical, name=one.metric))
        elif one.type == "pairwise":
            found.append(Pairwise(ask, model, name=one.metric))
        else:
            found.append(UserFunction(folder, one.function, timeout=one.timeout, name=one.metric))
    return found
