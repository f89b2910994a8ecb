"""Every decision of a release once more, from the ledger's rows, with the code that took it. Pure but for reading.

The rows are the calls and scores, the kept looks (which calls each was shown), blocks, steps and the policy. A row that
is not what a look saw ends the replay there and is named; so is a verdict that comes out differently.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from gateway.ledger.mirrored import MirroredPair, mirrored_pairs
from gateway.ledger.queries import ReleaseCall, release_calls
from gateway.storage.models import ReleaseLookRow, ReleaseRow, ReleaseStepRow
from tasks.releases import store
from tasks.releases.blocks_store import kept_blocks
from tasks.releases.business import business, declared_values
from tasks.releases.differing import unequal
from tasks.releases.evidence import block_to_json
from tasks.releases.gate_record import gate_difference
from tasks.releases.judged import calibration_of, judged
from tasks.releases.look import look_at
from tasks.releases.looks import (
    MIRROR,
    SEALED,
    AnySeen,
    as_seen,
    entries,
    first_link,
    kept_looks,
    link,
    pairs_shown_again,
    release_digest,
    seen_by,
    shown_again,
    step_digest,
)
from tasks.releases.mirror_look import MirrorPlan, look_at_pairs
from tasks.releases.plan import Move, weight_of
from tasks.releases.reconcile import SCORE_SOURCES, canary_policy
from tasks.statistics.blocks import Block

UNDERWAY = 180.0
"""Seconds from a call's start until its row must be in the ledger: the longest call and its shipping."""
DECIDED = ("held", "advanced", "promoted", "rolled_back", "closed")


@dataclass(frozen=True)
class Difference:
    """The first thing that is not as it was. ``look`` is 0 where it is about no look."""

    look: int
    what: str

    def __str__(self) -> str:
        return f"look {self.look}: {self.what}" if self.look else self.what


@dataclass(frozen=True)
class Rows:
    """All rows that the decisions of a release rest on."""

    release: ReleaseRow
    steps: Sequence[ReleaseStepRow]
    looks: Sequence[ReleaseLookRow]
    blocks: Sequence[Block]
    formed_at: Sequence[float]
    calls: Mapping[str, ReleaseCall]
    pairs: Mapping[str, MirroredPair] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """A decision that was taken again and came out the same."""

    step: int
    look: int
    at: float
    kind: str
    reason: str


@dataclass(frozen=True)
class Replay:
    """What a replay found; it holds when there is no difference.

    ``late`` counts calls that reached the ledger after the last look and were never evidence.
    """

    verdicts: tuple[Verdict, ...]
    difference: Difference | None
    looks: int
    calls: int
    late: int
    sealed: bool
    digest: str

    @property
    def holds(self) -> bool:
        return self.difference is None


class _Differs(Exception):
    def __init__(self, look: int, what: str) -> None:
        super().__init__(what)
        self.difference = Difference(look, what)


def replay(engine: Engine, release_id: str) -> Replay:
    """Read the release's rows and take its decisions again. Raises NotFound."""
    release = store.get_release(engine, release_id)
    try:
        blocks, formed_at = kept_blocks(engine, release_id)
    except (KeyError, TypeError, ValueError) as error:
        unreadable = Difference(0, f"a block cannot be read any more: {error}")
        return Replay((), unreadable, 0, 0, 0, sealed=False, digest="")
    calls = release_calls(engine, release_id, sources=SCORE_SOURCES)
    return replay_rows(
        Rows(
            release=release,
            steps=store.steps_of(engine, release_id),
            looks=kept_looks(engine, release_id),
            blocks=blocks,
            formed_at=formed_at,
            calls={call.id: call for call in calls},
            pairs={pair.id: pair for pair in mirrored_pairs(engine, release_id)},
        )
    )


def replay_rows(rows: Rows) -> Replay:
    """Gate, start and every look in order; ends at the first difference. Pure."""
    verdicts: list[Verdict] = []
    difference: Difference | None = None
    try:
        _check_gate(rows, verdicts)
        _check_looks(rows, verdicts)
    except _Differs as found:
        difference = found.difference
    seen = seen_by(rows.looks)
    late = sum(identity not in seen for identity in (*rows.calls, *rows.pairs))
    sealed = bool(rows.looks) and rows.looks[-1].kind == SEALED
    if sealed:
        late += len(entries(rows.looks[-1].body))
    return Replay(
        verdicts=tuple(verdicts),
        difference=difference,
        looks=sum(row.kind != SEALED for row in rows.looks),
        calls=len(seen),
        late=late,
        sealed=sealed,
        digest=rows.looks[-1].digest if rows.looks else first_link(rows.release),
    )


def _check_gate(rows: Rows, verdicts: list[Verdict]) -> None:
    for step in rows.steps:
        gate = step.evidence if step.kind == "gated" else step.evidence.get("gate", {})
        if not gate.get("verdict"):
            continue
        if what := gate_difference(gate):
            raise _Differs(0, f"the gate (step {step.seq}): {what}")
        if gate.get("items"):
            verdicts.append(Verdict(step.seq, 0, step.at, "gated", str(gate["verdict"]["outcome"])))


def _check_looks(rows: Rows, verdicts: list[Verdict]) -> None:
    release = rows.release
    decided = {int(step.evidence["look"]): step for step in rows.steps if "look" in step.evidence}
    missing = [step for step in rows.steps if "decision" in step.evidence and "look" not in step.evidence]
    if missing:
        raise _Differs(0, f"step {missing[0].seq} names no look: it was taken before looks were kept")
    started = next((step for step in rows.steps if step.kind == "started"), None)
    if started is not None and started.weight != weight_of(canary_policy(release), 0):
        raise _Differs(0, f"the canary started with {started.weight / 100:g} % of the users, which is not the plan's")
    before = first_link(release)
    calls: dict[str, ReleaseCall] = {}
    pairs: dict[str, MirroredPair] = {}
    for number, row in enumerate(rows.looks, start=1):
        if row.seq != number:
            raise _Differs(number, "is not in the ledger any more")
        if row.digest != link(before, row.at, row.kind, row.body):
            what = "the release's policy, salt or versions, or the look itself, were changed"
            raise _Differs(row.seq, what if number == 1 else "its own row was changed")
        before = row.digest
        if row.kind == MIRROR:
            pairs.update(_as_seen(rows.pairs, row))
        else:
            calls.update(_as_seen(rows.calls, row))
        _check_unlisted(rows, row, calls)
        if row.kind == MIRROR:
            if verdict := _mirror_again(rows, row, list(pairs.values()), decided.pop(row.seq, None)):
                verdicts.append(verdict)
            continue
        if row.kind == SEALED:
            _check_pairs(rows, row, pairs)
            _check_seal(rows, row)
            continue
        step = decided.pop(row.seq, None)
        if verdict := _look_again(rows, row, list(calls.values()), step):
            verdicts.append(verdict)
    if decided:
        raise _Differs(min(decided), "is not in the ledger any more")
    kept = sum(int(row.body.get("fresh", 0)) for row in rows.looks)
    if len(rows.blocks) != kept:
        raise _Differs(0, f"there are {len(rows.blocks)} blocks where the looks formed {kept}")


def _check_unlisted(rows: Rows, row: ReleaseLookRow, seen: Mapping[str, ReleaseCall]) -> None:
    """A call that must have been in the ledger at the last look, and no look has seen it, was added afterwards."""
    if row.seq != len(rows.looks) or row.kind == MIRROR:
        return
    until = row.at if row.kind == SEALED else row.at - UNDERWAY
    for call in rows.calls.values():
        if call.id not in seen and (row.kind == SEALED or call.started_at < until):
            when = "when the release was sealed" if row.kind == SEALED else "then"
            raise _Differs(row.seq, f"call {call.id} is in the ledger and was not {when}: it was added")


def _check_pairs(rows: Rows, row: ReleaseLookRow, seen: Mapping[str, MirroredPair]) -> None:
    """A mirrored call that neither a look nor the seal knows was added afterwards."""
    known = {*seen, *row.body.get("pairs", ())}
    for pair in rows.pairs.values():
        if pair.id not in known:
            raise _Differs(row.seq, f"mirrored call {pair.id} was not in the ledger when the release was sealed")


def _as_seen(known: Mapping[str, AnySeen], row: ReleaseLookRow) -> dict[str, AnySeen]:
    """The calls or pairs that a look names, which are new to it or have changed, as it saw them."""
    fields = tuple(row.body["fields"])
    found: dict[str, AnySeen] = {}
    for identity, seen in entries(row.body).items():
        call = known.get(identity)
        if call is None:
            raise _Differs(row.seq, f"call {identity} is not in the ledger any more")
        call = as_seen(call, seen.metrics)
        if field := seen.differs(call, fields):
            now = getattr(call, field, None)
            raise _Differs(row.seq, f"call {identity}: {_in_words(field)} is not what it was (now {now!r})")
        found[identity] = call
    return found


def _look_again(
    rows: Rows, row: ReleaseLookRow, calls: Sequence[ReleaseCall], step: ReleaseStepRow | None
) -> Verdict | None:
    policy = canary_policy(rows.release)
    shown = shown_again(row, calls, rows.blocks, rows.formed_at)
    look = look_at(shown, policy)
    formed = int(row.body["formed"])
    kept = rows.blocks[formed : formed + int(row.body["fresh"])]
    for again, block in zip(look.fresh, kept, strict=False):
        if what := unequal(block_to_json(block), block_to_json(again)):
            raise _Differs(row.seq, f"block {block.index} is not what the calls say: {what}")
    if any(at != row.at for at in rows.formed_at[formed : formed + len(kept)]):
        raise _Differs(row.seq, "a block says that it was formed at another time")
    if len(look.fresh) != int(row.body["fresh"]) or len(kept) != len(look.fresh):
        raise _Differs(row.seq, f"{len(look.fresh)} new blocks follow from the calls, {len(kept)} are kept")
    evidence = look.evidence()
    if values := declared_values(rows.release.policy):
        evidence["business"] = business(shown, values, release_id=rows.release.id, stage=look.move.stage)
    if known := calibration_of(rows.release.policy):
        evidence["judged"] = judged(shown, known, release_id=rows.release.id)
    return _hold_against(row, step, look.move, evidence)


def _mirror_again(
    rows: Rows, row: ReleaseLookRow, pairs: Sequence[MirroredPair], step: ReleaseStepRow | None
) -> Verdict | None:
    look = look_at_pairs(pairs_shown_again(row, pairs), MirrorPlan.of(rows.release))
    return _hold_against(row, step, look.move, look.evidence())


def _hold_against(
    row: ReleaseLookRow, step: ReleaseStepRow | None, move: Move, evidence: Mapping[str, Any]
) -> Verdict | None:
    """What a look comes out as now, held against the step that was taken on it."""
    if step is None:
        return None  # the run ended between looking and deciding; the next look decided
    if move.kind != step.kind:
        raise _Differs(row.seq, f"the verdict comes out as {move.kind!r}, the ledger says {step.kind!r}")
    if move.weight != step.weight:
        raise _Differs(
            row.seq, f"the share comes out as {move.weight / 100:g} %, the ledger says {step.weight / 100:g}"
        )
    if what := unequal(_figures(step.evidence), _figures({**step.evidence, **evidence})):
        raise _Differs(row.seq, f"its figures come out differently: {what}")
    if move.reason != step.reason:
        raise _Differs(row.seq, "its reason comes out differently")
    return Verdict(step.seq, row.seq, step.at, step.kind, step.reason)


def _figures(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """What a look found, without the sentence that says what a person should make of the money: it is no finding."""
    worth = evidence.get("business")
    return {**evidence, "business": {**worth, "recommendation": ""}} if worth else dict(evidence)


def _check_seal(rows: Rows, row: ReleaseLookRow) -> None:
    now = {str(step.seq): step_digest(step) for step in rows.steps}
    for seq, digest in row.body["steps"].items():
        if now.get(seq) != digest:
            raise _Differs(row.seq, f"step {seq} of the release is not what it was when the release was sealed")
    if row.body["release"] != release_digest(rows.release):
        raise _Differs(row.seq, "the release's own row is not what it was when the release was sealed")


def _in_words(field: str) -> str:
    return {"scores": "its score", "scored_at": "the time of its score", "started_at": "its time"}.get(
        field, f"its {field.replace('_', ' ')}"
    )
