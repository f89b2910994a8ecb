"""Blocks in the ledger, read back as they were kept. A look keeps them: see ``looks.py``."""

from sqlalchemy import Engine, select

from gateway.storage.engine import reading
from gateway.storage.models import ReleaseBlockRow
from tasks.releases.evidence import block_from_json
from tasks.statistics.blocks import Block


def kept_blocks(engine: Engine, release_id: str) -> tuple[list[Block], list[float]]:
    """The blocks of a release in order, and when each was formed."""
    query = select(ReleaseBlockRow).where(ReleaseBlockRow.release_id == release_id).order_by(ReleaseBlockRow.seq)
    with reading(engine) as session:
        rows = session.scalars(query).all()
    return [block_from_json(row.seq, row.body) for row in rows], [row.formed_at for row in rows]
