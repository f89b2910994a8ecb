"""Puts grades into the form that the judge's prompt asked for: keys, scale, labels, or which of two is better."""

import json
import re
from typing import Any

from .abilities import Ability
from .grading import Grades, grade
from .judge_prompt import JudgeTask, is_reason_key
from .words import chance

_TIE_WITHIN = 0.03


def verdict_text(task: JudgeTask, ability: Ability) -> str:
    """The judge's reply: a JSON object when keys were asked for, else a bare score, label, or letter."""
    if task.is_pairwise:
        return _pairwise(task, ability)
    grades = grade(task, task.answers[0])
    if not task.keys:
        value = _value("score", grades, task, ability)
        return f"{value}\n{grades.reason}" if task.wants_reason else str(value)
    verdict = {key: grades.reason if is_reason_key(key) else _keyed(key, grades, task, ability) for key in task.keys}
    if task.wants_reason and task.schema is None and not any(is_reason_key(key) for key in task.keys):
        verdict["reason"] = grades.reason
    return json.dumps(verdict, ensure_ascii=False)


def criterion(key: str, grades: Grades) -> float:
    """The grade in [0, 1] that a criterion's name asks for; an unknown name gets the overall grade."""
    name = key.lower()
    if re.search(r"halluc|fabricat", name):
        return 1.0 - grades.accuracy
    if re.search(r"accura|correct|faithful|ground|factual|support|truth|precis|halluc", name):
        return grades.accuracy
    if re.search(r"helpful|complet|useful|relevan|coverage|recall|resol", name):
        return grades.helpfulness
    if re.search(r"tone|polite|style|empath|friendl|profession|safety|fluen|clarity|clear", name):
        return grades.tone
    if re.search(r"concis|brev|brief|length", name):
        return grades.brevity
    if re.search(r"cit|sourc|attribut", name):
        return grades.citing
    return 0.6 * grades.accuracy + 0.4 * grades.helpfulness


def _keyed(key: str, grades: Grades, task: JudgeTask, ability: Ability) -> Any:
    inner = (task.schema or {}).get("properties", {}).get(key, {})
    kind = inner.get("type")
    if inner.get("enum"):
        return _label(list(inner["enum"]), criterion(key, grades))
    if kind == "boolean":
        return criterion(key, grades) >= 0.5
    if kind == "string" and not task.labels:
        return str(_value(key, grades, task, ability))
    value = _value(key, grades, task, ability)
    return round(value) if kind == "integer" and isinstance(value, float) else value


def _value(key: str, grades: Grades, task: JudgeTask, ability: Ability) -> float | int | str:
    share = criterion(key, grades)
    noise = (chance("judge", key, task.question, *task.answers) * 2 - 1) * ability.judging_noise
    share = max(0.0, min(1.0, share + noise))
    if task.labels:
        return task.labels[0] if share >= 0.5 else task.labels[1]
    value = task.low + share * (task.high - task.low)
    return round(value) if task.high - task.low >= 3 else round(value, 2)


def _label(options: list[Any], share: float) -> Any:
    """One of the allowed values: numbers are a scale; words are taken as good or bad by their meaning."""
    if all(isinstance(o, (int, float)) and not isinstance(o, bool) for o in options):
        low, high = min(options), max(options)
        return min(options, key=lambda o: abs(o - (low + share * (high - low))))
    bad = re.compile(r"^(?:no|fail|false|bad|poor|incorrect|wrong|un|not|low)", re.IGNORECASE)
    good, poor = [o for o in options if not bad.match(str(o))], [o for o in options if bad.match(str(o))]
    return (good or options)[0] if share >= 0.5 else (poor or options)[-1]


def _pairwise(task: JudgeTask, ability: Ability) -> str:
    first, second = (grade(task, text) for text in task.answers[:2])
    gap = criterion("overall", first) - criterion("overall", second)
    gap += (chance("pair", task.question, *task.answers) * 2 - 1) * ability.judging_noise
    winner = "tie" if abs(gap) < _TIE_WITHIN else "A" if gap > 0 else "B"
    reason = f"A: {first.reason} B: {second.reason}"
    if not task.keys:
        return f"{winner}\n{reason}" if task.wants_reason else winner
    keys = [k for k in task.keys if not is_reason_key(k)] or ["winner"]
    verdict: dict[str, Any] = {}
    for key in keys:
        shown = re.search(r"(?:^|_)(a|b|1|2)$", key.lower())
        if shown and len(keys) > 1:
            verdict[key] = _value("overall", first if shown[1] in "a1" else second, task, ability)
        else:
            verdict[key] = winner
    if task.wants_reason:
        verdict[next((k for k in task.keys if is_reason_key(k)), "reason")] = reason
    return json.dumps(verdict, ensure_ascii=False)
