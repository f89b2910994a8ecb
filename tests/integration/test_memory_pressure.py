"""More answers than the cache Redis has room for: it evicts, and nobody who calls notices."""

import pytest

from tests.bench.memory import fill

pytestmark = pytest.mark.integration

LIMIT_MB, ENTRIES = 8, 3_000


async def test_a_full_cache_evicts_and_calls_go_on() -> None:
    found = await fill(ENTRIES, LIMIT_MB, within=120.0)
    assert found.errors == 0
    assert found.asked - found.again == ENTRIES
    assert found.evicted > 500
    assert found.most_used_mb < LIMIT_MB * 1.05
    assert found.entries + found.evicted >= ENTRIES
    assert found.hits > 0.7 * found.again  # what was asked a moment ago is still there
