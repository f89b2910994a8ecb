"""Recognises a judge's prompt and reads it: sections, criteria, scale, and the form of the verdict."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .passages import Passage, split_passages
from .structured import wanted_keys


@dataclass(frozen=True, slots=True)
class JudgeTask:
    """What is to be judged, and how the verdict should look.

    `keys` are the JSON keys asked for (empty: a bare value is wanted); `low` and `high` bound the scale;
    `answers` holds one answer, or two when the better one is asked for.
    """

    answers: tuple[str, ...]
    question: str = ""
    reference: str = ""
    passages: tuple[Passage, ...] = ()
    keys: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    labels: tuple[str, ...] = ()
    wants_reason: bool = False
    schema: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def is_pairwise(self) -> bool:
        return len(self.answers) > 1


#: Characters at either end of a message in which a judge's task is looked for.
_LOOK = 800
_ASKS = re.compile(
    r"\b(?:rate|rating|score|scoring|grade|grading|grader|evaluate|evaluat(?:e|ing|or|ion)|judg(?:e|ing)|"
    r"assess(?:ing|ment)?|mark(?:s|ing)? (?:out|from)|"
    r"which (?:\w+ ){0,4}(?:is|was) better|better (?:answer|response|reply|one)|compare (?:the )?(?:two |both "
    r")?(?:answers|responses|replies)|"
    r"is the (?:answer|response|reply) (?:correct|right|accurate|supported|faithful|good))\b",
    re.IGNORECASE,
)
_ANY_ANSWER = r"(?:answer|response|reply|assistant|output|candidate|completion|option)"
_ROLES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (role, re.compile(pattern, re.IGNORECASE))
    for role, pattern in (
        (
            "reference",
            r"reference|expect(?:ed|ations)|ground[ _-]?truth|gold(?:en)?\b|ideal|correct answer|target|model answer",
        ),
        ("answer_b", rf"{_ANY_ANSWER}[ _-]?(?:b|2|two)\b|second (?:answer|response|reply)"),
        ("answer_a", rf"{_ANY_ANSWER}[ _-]?(?:a|1|one)\b|first (?:answer|response|reply)"),
        ("documents", r"documents?|context|sources?|articles?|passages?|knowledge|evidence|material|facts|excerpts?"),
        (
            "criteria",
            r"criteri|rubric|instruction|scale|format|guideline|steps?\b|rules?|task|scor|metric|verdict|judg",
        ),
        (
            "answer",
            r"\b(?:answers?|response|reply|replied|outputs?|completion|prediction|submission|candidate|assistant|actual)\b",
        ),
        ("question", r"question|query|input|user|customer|prompt|asked|message|request|ticket"),
    )
)
_HEADING = re.compile(
    r"^[ \t]*(?:"
    r"#{1,6}[ \t]*(?P<hash>[^\n:]{1,60}?):?[ \t]*$"
    r"|\*\*(?P<bold>[^*\n]{1,60}?):?\*\*[ \t]*:?(?=[ \t]|$)"
    r"|(?:={2,}|-{2,}|\*{2,})[ \t]*(?P<rule>[^\n=*-]{1,60}?)[ \t]*(?:={2,}|-{2,}|\*{2,})[ \t]*$"
    r"|\[(?P<square>(?:BEGIN |START (?:OF )?(?:THE )?)?[A-Za-z][A-Za-z' _-]{2,40}(?<!doc))\][ \t]*:?(?=[ \t]|$)"
    r"|(?P<colon>[A-Za-z][A-Za-z0-9'’ ()/_-]{1,50}?)[ \t]*:(?=[ \t]|$)"
    r")",
    re.MULTILINE,
)
_TAG = re.compile(r"<(?P<tag>[A-Za-z][\w -]*?)(?:\s[^>]*)?>(?P<body>.*?)</(?P=tag)>", re.DOTALL)
_ORDER = re.compile(
    r"\b(?:with|only|json|must|should|please|return|format|follow\w*|write|use|give|rate)\b", re.IGNORECASE
)
_END_MARK = re.compile(r"^\[?(?:END|/)\b", re.IGNORECASE)
_SCALES = (
    re.compile(r"(?:from|between|scale(?: of| from)?|score(?: of| from)?|range(?: of| from)?|rating(?: of| "
               r"from)?)\s*:?\s*\(?\[?(-?\d+(?:\.\d+)?)\s*(?:to|and|-|–|—|\.\.|,|through)\s*(\d+(?:\.\d+)?)", re.I),
    re.compile(r"\b(\d+(?:\.\d+)?)\s*\([^)]{2,40}\)\s*(?:to|and|-|–)\s*(\d+(?:\.\d+)?)\s*\("),
    re.compile(r"\[(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\]"),
    re.compile(r"<?\b(0(?:\.0+)?|1(?:\.0+)?)\s*(?:to|-|–|—|\.\.)\s*(1(?:\.0+)?|4|5|7|10|100)\b>?"),
    re.compile(r"(?P<out>)\bout of\s+(\d+)", re.I),
    re.compile(r"(?P<out>)/\s?(5|10|100)\b"),
)  # fmt: skip
_LABELS = (
    ("yes", "no"),
    ("pass", "fail"),
    ("true", "false"),
    ("correct", "incorrect"),
    ("good", "bad"),
    ("supported", "unsupported"),
)
_CRITERION = re.compile(r"^(?:[-*\d.\s]*)[\"'`*]*([a-z_]{4,30})[\"'`*]*\s*(?::|-|–|\()", re.MULTILINE)
_COMMON = (
    "accuracy|correctness|helpfulness|completeness|faithfulness|groundedness|relevance|tone|clarity"
    "|conciseness|usefulness|style|politeness|safety|fluency|citations?"
)


def read_judge_task(
    messages: Sequence[tuple[str, str]], schema: Mapping[str, Any] | None, wants_json: bool
) -> JudgeTask | None:
    """The judge's task in a prompt, or None when the prompt does not ask to judge an answer that it shows."""
    if not any(
        _ASKS.search(text[:_LOOK]) or _ASKS.search(text[-_LOOK:]) for role, text in messages if role != "assistant"
    ):
        return None
    sections, frame = _sections(messages)
    answers = tuple(sections[k] for k in ("answer_a", "answer_b") if k in sections)
    if len(answers) < 2:
        answers = tuple(sections[k] for k in ("answer", "answer_a", "answer_b") if k in sections)[:1]
    if (
        not answers
        or not ({"question", "reference", "documents", "criteria"} & set(sections))
        or not _ASKS.search(frame)
    ):
        return None
    documents = sections.get("documents", "")
    passages = split_passages(documents).passages if documents else ()
    if documents and not passages:
        passages = tuple(
            Passage(f"[{n}]", "", p.strip()) for n, p in enumerate(re.split(r"\n\s*\n", documents), 1) if p.strip()
        )
    low, high = _scale(frame)
    keys = _keys(frame, schema, wants_json)
    reasons = [k for k in keys if is_reason_key(k)]
    return JudgeTask(
        answers=answers,
        question=sections.get("question", ""),
        reference=sections.get("reference", ""),
        passages=passages,
        keys=keys,
        low=low,
        high=high,
        labels=_labels(frame),
        wants_reason=bool(reasons)
        or bool(re.search(r"\b(?:reason|rationale|explanation|justif\w+|explain)\b", frame, re.I)),
        schema=schema,
    )


def is_reason_key(key: str) -> bool:
    """Whether a key of the verdict wants words rather than a score."""
    return bool(re.search(r"reason|rationale|explan|justif|comment|feedback|critique|thought|analysis|note", key, re.I))


def _sections(messages: Sequence[tuple[str, str]]) -> tuple[dict[str, str], str]:
    """Text by role (question, answer, reference, documents...), and the frame: all text outside of those."""
    found: dict[str, str] = {}
    frame: list[str] = []
    shown = [text for role, text in messages if role == "user"]
    for role, text in messages:
        if role == "assistant":
            continue
        if role != "user" and any("answer" in name for user in shown for name in _read_sections(user)[0]):
            here, rest = _tag_sections(text) or ({}, text)
        else:
            here, rest = _read_sections(text)
        for name, body in here.items():
            if name == "criteria" or not body.strip():
                frame.append(body)
            found[name] = body.strip() or found.get(name, "")
        frame.append(rest)
    return {k: v for k, v in found.items() if v}, "\n".join(frame)


def _read_sections(text: str) -> tuple[dict[str, str], str]:
    return _json_sections(text) or _tag_sections(text) or _headed_sections(text)


def _json_sections(text: str) -> tuple[dict[str, str], str] | None:
    start = text.find("{")
    if start < 0:
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(text[start:])
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    found: dict[str, str] = {}
    for key, inner in value.items():
        role = _role_of(key)
        if role and inner:
            found.setdefault(role, inner if isinstance(inner, str) else _flatten(inner))
    if not any(role.startswith("answer") for role in found) or any(len(v) < 4 for v in found.values() if v):
        return None
    return found, text[:start] + text[start + end :]


def _flatten(value: Any) -> str:
    if isinstance(value, Mapping):
        if "text" in value and "id" in value:
            return f"[doc:{value['id']}] {value.get('title', '')}\n{value['text']}"
        return "\n\n".join(_flatten(v) for v in value.values())
    if isinstance(value, list):
        return "\n\n".join(_flatten(v) for v in value)
    return str(value)


def _tag_sections(text: str) -> tuple[dict[str, str], str] | None:
    found: dict[str, str] = {}
    rest = text
    for match in _TAG.finditer(text):
        role = _role_of(match["tag"])
        if role:
            found[role] = "\n\n".join(x for x in (found.get(role), match["body"].strip()) if x)
            rest = rest.replace(match[0], "\n")
    return (found, rest) if any(role.startswith("answer") for role in found) else None


def _headed_sections(text: str) -> tuple[dict[str, str], str]:
    found: dict[str, str] = {}
    rest: list[str] = []
    current, start = "", 0

    def close(end: int) -> None:
        body = text[start:end].strip().strip('"').strip("-= \n")
        if current:
            found[current] = f"{found[current]}\n\n{body}" if found.get(current) else body
        else:
            rest.append(text[start:end])

    for head, role in _headings(text):
        if current == "documents" and head["colon"] and role in ("documents", "criteria"):
            continue
        close(head.start())
        current, start = role, head.end()
    close(len(text))
    return found, "\n".join(rest)


def _headings(text: str) -> list[tuple[re.Match[str], str]]:
    """Headings with their roles ("" ends a section). "Answer: ..." is none beside bolder headings."""
    found: list[tuple[re.Match[str], str]] = []
    for head in _HEADING.finditer(text):
        title = next(t for t in head.groupdict().values() if t is not None)
        ends = bool(_END_MARK.match(title))
        role = "" if ends else _role_of(title)
        if role or ends:
            found.append((head, role))
    bold = {role for head, role in found if not head["colon"]}
    if any(role.startswith("answer") for role in bold):
        found = [(head, role) for head, role in found if not head["colon"] or role not in bold]
    return found


def _role_of(title: str) -> str:
    """The section role of a heading; "" when it is none."""
    words = title.strip().replace("_", " ")
    if len(words.split()) > 7:
        return ""
    if _ORDER.search(words):
        return "criteria"
    return next((role for role, pattern in _ROLES if pattern.search(words)), "")


def _scale(frame: str) -> tuple[float, float]:
    for pattern in _SCALES:
        match = pattern.search(frame)
        if match:
            groups = match.groups()
            low, high = (
                (1.0 if groups[1] in ("5", "10") else 0.0, float(groups[1]))
                if groups[0] in ("", None)
                else (float(groups[0]), float(groups[1]))
            )
            if high > low:
                return low, high
    return 0.0, 1.0


def _keys(frame: str, schema: Mapping[str, Any] | None, wants_json: bool) -> tuple[str, ...]:
    if schema is not None and schema.get("properties"):
        return tuple(schema["properties"])
    speaks_json = (
        wants_json or bool(re.search(r"\bjson\b", frame, re.I)) or bool(re.search(r"\{\s*[\"']\w+[\"']\s*:", frame))
    )
    if not speaks_json:
        return ()
    keys = wanted_keys(frame)
    if keys:
        return keys
    listed = _CRITERION.findall(frame.lower()) or re.findall(rf"\b({_COMMON})\b", frame.lower())
    named = tuple(dict.fromkeys(k for k in listed if re.fullmatch(_COMMON, k)))
    return named or ("score",)


def _labels(frame: str) -> tuple[str, ...]:
    """A pair such as ("yes", "no") when the frame asks for one of the two, best first; () otherwise."""
    for good, bad in _LABELS:
        match = re.search(rf"[\"'`*]?\b({good})\b[\"'`*]?\s*(?:or|/|\||,)\s*[\"'`*]?\b({bad})\b", frame, re.I)
        if match:
            return (match[1], match[2])
    return ()
