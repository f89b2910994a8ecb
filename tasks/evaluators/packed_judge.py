"""Several verdicts in one call: the question the judge is asked and how its verdicts are read. Pure.

A verdict is matched by its id. One that is missing, twice there or unreadable is no verdict: it is asked for singly.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

from gateway.types import Message
from tasks.evaluators.judge import Judgement, judge_messages, read_judgement

K = TypeVar("K", bound=Hashable)

MAX_CHARACTERS = 40_000
"""Of all that is judged in one call."""
_FORM = """

There are several answers, each in an element <item id="...">, with its own question. Judge each as if it were alone.
Reply with JSON only: {"verdicts": [{"id": "<id of the item>", ...the object described above}, ...], one per item}"""


def packs(keys: Sequence[K], sizes: Sequence[int], most: int) -> list[list[int]]:
    """Indices that go together: equal keys, at most ``most``, at most MAX_CHARACTERS; in order. Long ones stay alone.

    The same list gives the same packs, so that judging it again is answered from the cache.
    """
    open_packs: dict[K, list[int]] = {}
    filled: dict[K, int] = {}
    found: list[list[int]] = []
    for index, (key, size) in enumerate(zip(keys, sizes, strict=True)):
        pack = open_packs.get(key)
        if pack is None or len(pack) >= most or filled[key] + size > MAX_CHARACTERS:
            pack = open_packs[key] = []
            filled[key] = 0
            found.append(pack)
        pack.append(index)
        filled[key] += size
    return found


def pack_messages(items: Sequence[Mapping[str, str]], criteria: Sequence[str]) -> tuple[Message, ...]:
    """``items``: question, answer, reference and documents of each, all with a reference or all without; ids from 1."""
    single = [judge_messages(criteria=criteria, **item) for item in items]
    system = str(single[0][0]["content"]) + _FORM
    bodies = [f'<item id="{number}">\n{_quiet(pair[1]["content"])}\n</item>' for number, pair in enumerate(single, 1)]
    return ({"role": "system", "content": system}, {"role": "user", "content": "\n\n".join(bodies)})


def pack_format(criteria: Sequence[str]) -> dict[str, Any]:
    """OpenAI's ``response_format`` for the verdicts; strict schemas want every property required."""
    rating = {"type": "integer", "enum": [1, 2, 3, 4, 5]}
    properties: dict[str, Any] = {"id": {"type": "string"}}
    properties |= dict.fromkeys(criteria, rating)
    properties["reason"] = {"type": "string"}
    verdict = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {"verdicts": {"type": "array", "items": verdict}},
        "required": ["verdicts"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "verdicts", "strict": True, "schema": schema}}


def read_pack(text: str, count: int, criteria: Sequence[str]) -> dict[int, Judgement]:
    """Readable verdicts by the item's place, from 0."""
    try:
        rows = json.loads(text)["verdicts"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    if not isinstance(rows, list):
        return {}
    ids = [str(row.get("id")) if isinstance(row, dict) else "" for row in rows]
    found: dict[int, Judgement] = {}
    for place in range(count):
        if ids.count(str(place + 1)) != 1:
            continue
        judgement = read_judgement(json.dumps(rows[ids.index(str(place + 1))]), criteria)
        if judgement.score is not None:
            found[place] = judgement
    return found


def _quiet(text: str) -> str:
    """What is judged cannot close its element, or open another one."""
    return text.replace("<item", "< item").replace("</item", "< /item")
