"""Looks as the ledger keeps them: which calls each was shown, in a chain of digests, so that any of it can be proven.

A kept look names the calls that are new to it or have changed since the look before (a score has come), with a short
digest of each of their fields. Nothing of a call is copied: its row is the truth, and the digests say whether it still
is what the look saw, and if not, which field changed. Each look's digest covers the one before.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from gateway.ledger.mirrored import MirroredPair
from gateway.ledger.queries import ReleaseCall
from gateway.storage.engine import reading, writing
from gateway.storage.models import ReleaseBlockRow, ReleaseLookRow, ReleaseRow, ReleaseStepRow
from gateway.storage.upsert import insert_missing
from tasks.releases.evidence import block_to_json
from tasks.releases.look import Shown
from tasks.releases.mirror_look import MirrorShown
from tasks.releases.store import StaleRelease
from tasks.statistics.blocks import Block

MIRROR, LOOK, SEALED = "mirror", "look", "sealed"
FIELDS = tuple(name for name in ReleaseCall.__struct_fields__ if name != "id")
PAIR_FIELDS = tuple(name for name in MirroredPair.__struct_fields__ if name != "id")
Seen = ReleaseCall | MirroredPair
"""What looks are shown: calls of a canary, or mirrored ones with the live calls that they repeat."""
AnySeen = TypeVar("AnySeen", ReleaseCall, MirroredPair)
_WIDTH = 8
"""Hexadecimal digits of a field's digest."""


@dataclass(frozen=True)
class SeenCall:
    """A call or pair as a look saw it: a digest per field, and the metrics that it had a score for."""

    codes: str
    metrics: tuple[str, ...]

    @classmethod
    def of(cls, call: Seen, fields: Sequence[str] = FIELDS) -> "SeenCall":
        return cls("".join(short_digest(getattr(call, name)) for name in fields), tuple(sorted(call.scores)))

    def differs(self, call: Seen, fields: Sequence[str]) -> str:
        """The first field of a call that is not what it was; empty when all are."""
        for number, name in enumerate(fields):
            was = self.codes[number * _WIDTH : (number + 1) * _WIDTH]
            if not hasattr(call, name) or short_digest(getattr(call, name)) != was:
                return name
        return ""


def short_digest(value: Any) -> str:
    """Eight hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    return canonical_digest(value)[:_WIDTH]


def canonical_digest(value: Any) -> str:
    """SHA-256 (hex) of a value's JSON with sorted keys."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


def as_seen(call: AnySeen, metrics: Iterable[str]) -> AnySeen:
    """The call with the scores that had come by then only."""
    known = set(metrics)
    return msgspec.structs.replace(
        call,
        scores={name: value for name, value in call.scores.items() if name in known},
        scored_at={name: at for name, at in call.scored_at.items() if name in known},
    )


def first_link(release: ReleaseRow) -> str:
    """Where a release's chain begins: what was fixed before the first call."""
    fixed = [release.id, release.tenant, release.prompt, release.version, release.baseline, release.salt]
    return canonical_digest([*fixed, release.policy])


def link(before: str, at: float, kind: str, body: Mapping[str, Any]) -> str:
    """A look's place in the chain."""
    return canonical_digest([before, at, kind, body])


def kept_looks(engine: Engine, release_id: str) -> list[ReleaseLookRow]:
    """The looks of a release in order; its seal, if it has one, is the last."""
    with reading(engine) as session:
        return _looks(session, release_id)


def seen_by(looks: Iterable[ReleaseLookRow]) -> dict[str, SeenCall]:
    """Calls by id as the last of these looks saw them."""
    found: dict[str, SeenCall] = {}
    for row in looks:
        found.update(entries(row.body))
    return found


def entries(body: Mapping[str, Any]) -> dict[str, SeenCall]:
    """What a look's body says about calls."""
    return {identity: SeenCall(codes, tuple(metrics)) for identity, codes, metrics in body["calls"]}


def keep_look(engine: Engine, release: ReleaseRow, shown: Shown, fresh: Sequence[Block]) -> int:
    """Keep a look with its new blocks, before anything is decided on them; returns the look's number.

    Raises StaleRelease when somebody else has moved the release meanwhile.
    """
    blocks = [
        {"release_id": release.id, "seq": block.index, "formed_at": shown.now, "body": block_to_json(block)}
        for block in fresh
    ]
    with writing(engine) as session:
        _lock(session, release)
        insert_missing(session, ReleaseBlockRow, blocks)
        facts = {
            "weight": shown.weight,
            "step": shown.step,
            "step_since": shown.step_since,
            "started_at": shown.started_at,
            "formed": len(shown.formed),
            "fresh": len(fresh),
            "testing_usd": shown.testing_usd,
        }
        return _add(session, release, shown.now, LOOK, shown.calls, facts)


def keep_mirror_look(engine: Engine, release: ReleaseRow, shown: MirrorShown) -> int:
    """Keep a look at mirrored calls, before anything is decided on it; returns the look's number.

    Raises StaleRelease when somebody else has moved the release meanwhile.
    """
    with writing(engine) as session:
        _lock(session, release)
        return _add(session, release, shown.now, MIRROR, shown.pairs, {"started_at": shown.started_at}, PAIR_FIELDS)


def _lock(session: Session, release: ReleaseRow) -> None:
    row = session.get_one(ReleaseRow, release.id, with_for_update=True)
    if row.revision != release.revision:
        raise StaleRelease(f"release {row.id} is at revision {row.revision}, not {release.revision}")


def add_seal(session: Session, release: ReleaseRow, at: float, calls: Sequence[ReleaseCall], facts: Any) -> int:
    """The last link: calls that came after the verdict, and what else must not change from now on."""
    return _add(session, release, at, SEALED, calls, facts)


def _add(
    session: Session,
    release: ReleaseRow,
    at: float,
    kind: str,
    calls: Sequence[Seen],
    facts: Mapping[str, Any],
    fields: Sequence[str] = FIELDS,
) -> int:
    earlier = _looks(session, release.id)
    before = seen_by(earlier)
    now = {call.id: SeenCall.of(call, fields) for call in calls}
    changed = [[name, seen.codes, list(seen.metrics)] for name, seen in now.items() if before.get(name) != seen]
    body = {**facts, "fields": list(fields), "calls": changed}
    seq = earlier[-1].seq + 1 if earlier else 1
    session.add(
        ReleaseLookRow(
            release_id=release.id,
            seq=seq,
            at=at,
            kind=kind,
            body=body,
            digest=link(earlier[-1].digest if earlier else first_link(release), at, kind, body),
        )
    )
    return seq


def shown_again(
    row: ReleaseLookRow, calls: Sequence[ReleaseCall], blocks: Sequence[Block], formed_at: Sequence[float]
) -> Shown:
    """What a kept look was shown, from the calls as it saw them and all blocks of the release."""
    body, formed = row.body, int(row.body["formed"])
    return Shown(
        calls=calls,
        formed=tuple(blocks[:formed]),
        formed_at=tuple(formed_at[:formed]),
        weight=int(body["weight"]),
        step=int(body["step"]),
        step_since=float(body["step_since"]),
        started_at=float(body["started_at"]),
        now=row.at,
        testing_usd=body.get("testing_usd"),
    )


def pairs_shown_again(row: ReleaseLookRow, pairs: Sequence[MirroredPair]) -> MirrorShown:
    """What a kept look at mirrored calls was shown, from the pairs as it saw them."""
    return MirrorShown(pairs, float(row.body["started_at"]), row.at)


def step_digest(step: ReleaseStepRow) -> str:
    """A step as the seal remembers it."""
    return short_digest([step.at, step.kind, step.weight, step.reason, step.evidence])


def release_digest(row: ReleaseRow) -> str:
    """What a closed release's row says, as the seal remembers it."""
    return short_digest([row.stage, row.reason, row.author, row.approved_by, row.opened_at, row.closed_at])


def _looks(session: Session, release_id: str) -> list[ReleaseLookRow]:
    query = select(ReleaseLookRow).where(ReleaseLookRow.release_id == release_id).order_by(ReleaseLookRow.seq)
    return list(session.scalars(query))
