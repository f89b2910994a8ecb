"""What a mirror stage needs beside the ledger: the judge's preference on a few pairs, and tools that do no harm."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from gateway.clock import Clock
from gateway.errors import Conflict
from gateway.ledger.mirrored import MirroredPair
from gateway.settings import Settings
from gateway.storage.engine import reading, writing
from gateway.storage.models import CallRow, ReleaseRow, ScoreRow
from gateway.storage.upsert import insert_missing
from gateway.tools.registry import load_tools
from gateway.types import Origin
from tasks.evaluated import question_of
from tasks.evaluators.base import Answered
from tasks.evaluators.pairwise import Asked, pairwise_version, prefer
from tasks.llm import LlmCall, client
from tasks.registration import engine_of
from tasks.releases.mirror_evidence import PREFERRED
from tasks.releases.mirror_stage import open_pairs
from tasks.specs.model import PromptSpec
from tasks.step import step


def check_mirrored_tools(settings: Settings, spec: PromptSpec) -> None:
    """Raises Conflict for a prompt that is to be mirrored with a tool that must not run behind a user's back."""
    if spec.canary.mirror is None or not spec.tools:
        return
    known = load_tools(settings.tools)
    if held := [name for name in spec.tools if name in known and not known[name].shareable]:
        raise Conflict(
            f"{spec.name} cannot be mirrored: its tool {held[0]!r} does something, or tells what is one caller's own",
            hint="Take canary.mirror out, or declare the tool shareable if it has no effect.",
        )


@step("judge mirrored answers")
def judge_mirrored(settings: Settings, clock: Clock, release: ReleaseRow) -> int:
    """Ask which answer is better, in both orders, for the first pairs that the plan has judged; returns how many new
    verdicts there are. A pair that the judge cannot tell about is asked about again by the next run.
    """
    engine = engine_of(settings)
    pairs = open_pairs(engine, release, PREFERRED)
    if not pairs:
        return 0
    model = str(release.policy["gate"]["judge"]["model"])

    def ask(asked: Sequence[Asked]) -> list[str]:
        calls = [
            LlmCall(
                tenant=release.tenant,
                origin=Origin.JUDGE,
                model=model,
                messages=one.messages,
                params={"temperature": 0},
            )
            for one in asked
        ]
        return [result.text for result in client(settings).complete(calls)]

    with reading(engine) as session:
        asked = select(CallRow).where(CallRow.id.in_([pair.live for pair in pairs]))
        live = {row.id: row for row in session.scalars(asked)}
    found = prefer(ask, [(answered, rival) for answered, rival in _shown(pairs, live)])
    now = clock.now()
    rows: list[dict[str, Any]] = [
        {
            "call_id": pair.id,
            "tenant": release.tenant,
            "metric": PREFERRED,
            "source": "judge",
            "value": preference.share,
            "reason": preference.reason,
            "scored_at": now,
            "judge": pairwise_version(model),
        }
        for pair, preference in zip(pairs, found, strict=True)
        if preference.share is not None
    ]
    with writing(engine) as session:
        insert_missing(session, ScoreRow, rows)
    return len(rows)


def _shown(pairs: Sequence[MirroredPair], live: Mapping[str, CallRow]) -> Iterator[tuple[Answered, str]]:
    """The candidate's answers with what the users got, against the documents that the users' answers came from."""
    for pair in pairs:
        row = live[pair.live]
        question = row.question or question_of(row.variables or {})
        answered = Answered(question=question, answer=pair.answer or "", documents=row.context or "")
        yield answered, pair.live_answer or ""
