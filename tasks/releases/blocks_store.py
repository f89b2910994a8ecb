"""Blocks in the ledger: kept once, read back as they were."""

from collections.abc import Sequence

from sqlalchemy import Engine, select

from gateway.clock import Clock
from gateway.storage.engine import reading, writing
from gateway.storage.models import ReleaseBlockRow
from gateway.storage.upsert import insert_missing
from tasks.releases.evidence import block_from_json, block_to_json
from tasks.statistics.blocks import Block


def kept_blocks(engine: Engine, release_id: str) -> tuple[list[Block], list[float]]:
    """The blocks of a release in order, and when each was formed."""
    query = select(ReleaseBlockRow).where(ReleaseBlockRow.release_id == release_id).order_by(ReleaseBlockRow.seq)
    with reading(engine) as session:
        rows = session.scalars(query).all()
    return [block_from_json(row.seq, row.body) for row in rows], [row.formed_at for row in rows]


def keep_blocks(engine: Engine, clock: Clock, release_id: str, blocks: Sequence[Block]) -> None:
    """Keep new blocks; those that are there already stay as they are."""
    now = clock.now()
    rows = [
        {"release_id": release_id, "seq": block.index, "formed_at": now, "body": block_to_json(block)}
        for block in blocks
    ]
    with writing(engine) as session:
        insert_missing(session, ReleaseBlockRow, rows)
