"""A judge against labelled examples: single answers that are right or wrong, or pairs of which one is better."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import InvalidRequest
from gateway.settings import Settings
from gateway.types import CacheMode, Origin
from tasks.evaluators.base import Answered
from tasks.evaluators.judge import judge_messages, judge_version, read_judgement
from tasks.evaluators.pairwise import Asked, pairwise_version, prefer
from tasks.llm import LlmCall, client
from tasks.releases.judged import LabelCounts
from tasks.specs.dataset_files import read_rows
from tasks.specs.model import JudgeSpec
from tasks.statistics.agreement import Calibration, Interval, calibrate, kappa, share

_RIGHT = frozenset({"right", "true", "1", "yes", "good", "correct", "pass"})
_WRONG = frozenset({"wrong", "false", "0", "no", "bad", "incorrect", "fail"})
_SHARES = {"a": 1.0, "b": 0.0, "tie": 0.5}
_MOST = 10_000


class LabelError(InvalidRequest):
    code = "broken_labels"
    default_hint = "Each row: question, answer, label (right or wrong); or question, answer_a, answer_b, better."


@dataclass(frozen=True)
class Labelled:
    """An answer that somebody says is right, or is not."""

    question: str
    answer: str
    right: bool
    reference: str = ""
    documents: str = ""


@dataclass(frozen=True)
class LabelledPair:
    """Two answers of which somebody prefers one: ``better`` is a, b or tie."""

    question: str
    answer_a: str
    answer_b: str
    better: str
    reference: str = ""
    documents: str = ""


@dataclass(frozen=True)
class Calibrated:
    """``scores`` of each example in order, None where the judge gave none; ``judge`` is its version.

    ``counts`` only where both right and wrong answers were judged: else nothing can be corrected by them.
    """

    judge: str
    found: Calibration | None
    scores: tuple[float | None, ...]
    not_judged: int
    counts: LabelCounts | None = None


@dataclass(frozen=True)
class PairsCalibrated:
    """``flipped``: the share of pairs whose verdict changed with the order, which counts as a tie."""

    judge: str
    kappa: Interval
    agreement: Interval
    flipped: Interval
    decided_right: Interval | None
    not_judged: int


def read_labels(path: Path) -> list[Labelled] | list[LabelledPair]:
    """All rows are of one kind. Raises LabelError naming up to ten broken lines."""
    try:
        rows = list(read_rows(path))
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"{path.name} cannot be read: {error}") from None
    singles: list[Labelled] = []
    pairs: list[LabelledPair] = []
    problems: list[str] = []
    for number, row in rows[:_MOST]:
        try:
            if isinstance(row, Exception):
                raise row
            one = _labelled(row)
        except ValueError as error:
            problems.append(f"{path.name} line {number}: {error}")
            continue
        (pairs if isinstance(one, LabelledPair) else singles).append(one)  # type: ignore[arg-type]
    if singles and pairs:
        problems.append(f"{path.name}: has both single answers and pairs: use a file for each")
    if not problems and not singles and not pairs:
        problems.append(f"{path.name}: has no examples")
    if problems:
        more = [f"and {len(problems) - 10} more"] if len(problems) > 10 else []
        raise LabelError("\n".join(problems[:10] + more))
    return pairs or singles


def calibrate_judge(
    settings: Settings,
    tenant: str,
    judge: JudgeSpec,
    examples: Sequence[Labelled],
    *,
    margin: float,
    right_from: float = 0.5,
    fresh: bool = False,
) -> Calibrated:
    """The judge's verdicts on the examples; ``right_from``: the score from which it calls an answer right.

    ``fresh``: it is asked anew, past the cache.
    """
    scores = ask_judge(settings, tenant, judge, examples, fresh=fresh)
    judged = [
        (one.right, score >= right_from) for one, score in zip(examples, scores, strict=True) if score is not None
    ]
    found = calibrate(judged, margin) if judged else None
    version, times = judge_version(judge.model, judge.criteria), Counter(judged)
    counts = LabelCounts(
        judge=version,
        model=judge.model,
        right_from=right_from,
        true_right=times[True, True],
        missed=times[True, False],
        true_wrong=times[False, False],
        false_right=times[False, True],
    )
    both = len({right for right, _ in judged}) > 1
    return Calibrated(version, found, tuple(scores), len(examples) - len(judged), counts if both else None)


def ask_judge(
    settings: Settings, tenant: str, judge: JudgeSpec, examples: Sequence[Labelled], *, fresh: bool
) -> list[float | None]:
    """A score in [0, 1] for each example, None where the judge could not be reached or read."""
    calls = [
        LlmCall(
            tenant=tenant,
            origin=Origin.JUDGE,
            model=judge.model,
            messages=judge_messages(
                question=one.question,
                answer=one.answer,
                criteria=judge.criteria,
                reference=one.reference,
                documents=one.documents,
            ),
            params={"temperature": 0},
            cache=CacheMode.BYPASS if fresh else CacheMode.DEFAULT,
        )
        for one in examples
    ]
    results = client(settings).complete(calls)
    return [read_judgement(result.text, judge.criteria).score if result.answer else None for result in results]


def calibrate_pairs(settings: Settings, tenant: str, model: str, examples: Sequence[LabelledPair]) -> PairsCalibrated:
    """The judge's preferences, each asked for in both orders. Raises LabelError when none could be read."""

    def ask(asked: Sequence[Asked]) -> list[str]:
        calls = [
            LlmCall(tenant=tenant, origin=Origin.JUDGE, model=model, messages=one.messages, params={"temperature": 0})
            for one in asked
        ]
        return [result.text for result in client(settings).complete(calls)]

    shown = [
        (Answered(one.question, one.answer_a, reference=one.reference, documents=one.documents), one.answer_b)
        for one in examples
    ]
    found = prefer(ask, shown)
    known = [
        (_SHARES[one.better], preference.share, preference.flipped)
        for one, preference in zip(examples, found, strict=True)
        if preference.share is not None
    ]
    if not known:
        raise LabelError("the judge named a winner of no pair", hint="Is its model reachable? 'promptyard status'.")
    decided = [(label, said) for label, said, _ in known if label != 0.5 and said != 0.5]
    return PairsCalibrated(
        judge=pairwise_version(model),
        kappa=kappa([(label, said) for label, said, _ in known]),
        agreement=share(sum(label == said for label, said, _ in known), len(known)),
        flipped=share(sum(flipped for _, _, flipped in known), len(known)),
        decided_right=share(sum(label == said for label, said in decided), len(decided)) if decided else None,
        not_judged=len(examples) - len(known),
    )


def _labelled(row: Mapping[str, Any]) -> Labelled | LabelledPair:
    if not isinstance(row, Mapping):
        raise ValueError("is not an object")
    cells = {**row.get("variables", {}), **{name: value for name, value in row.items() if name != "variables"}}
    cells.setdefault("question", cells.pop("input", None))
    ground = {"reference": _text(cells, "reference", ""), "documents": _documents(cells.get("documents"))}
    question = _text(cells, "question")
    if "better" in cells or "answer_a" in cells:
        better = str(cells.get("better", "")).strip().lower()
        if better not in _SHARES:
            raise ValueError(f"better: {better!r} is none of {', '.join(_SHARES)}")
        return LabelledPair(question, _text(cells, "answer_a"), _text(cells, "answer_b"), better, **ground)
    label = str(cells.get("label", "")).strip().lower()
    if label not in _RIGHT | _WRONG:
        raise ValueError(f"label: {label!r} is neither right nor wrong")
    return Labelled(question, _text(cells, "answer"), label in _RIGHT, **ground)


def _text(cells: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = cells.get(name, default)
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise ValueError(f"{name}: a text is needed")
    return value


def _documents(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "\n\n".join(value)
    raise ValueError("documents: a text, or a list of texts, is needed")
