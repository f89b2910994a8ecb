"""The guards on real questions: near misses made from them by one edit, and paraphrases."""

import csv
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from gateway.cache.semantic.guards import veto

DATA = Path(os.environ.get("PROMPTYARD_DATA") or Path(__file__).resolve().parents[5] / "shared" / "data")
NEAR_MISSES = DATA / "near_miss" / "near_miss_banking77.csv"
PARAPHRASES = DATA / "gptcache_mock" / "mock_data.json"


@pytest.mark.skipif(not NEAR_MISSES.is_file(), reason=f"no near misses: set PROMPTYARD_DATA ({NEAR_MISSES})")
def test_hardly_any_near_miss_passes() -> None:
    asked, passed = Counter[str](), Counter[str]()
    with NEAR_MISSES.open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened):
            asked[row["edit"]] += 1
            passed[row["edit"]] += not veto(row["near_miss"], row["query"])
    assert asked.total() > 1000
    assert passed.total() <= 0.02 * asked.total()
    assert all(passed[edit] <= 0.04 * count for edit, count in asked.items()), passed


@pytest.mark.skipif(not PARAPHRASES.is_file(), reason=f"no paraphrases: set PROMPTYARD_DATA ({PARAPHRASES})")
def test_most_paraphrases_pass() -> None:
    """What the guards cost; these are statements, freely reworded, with many names."""
    pairs = json.loads(PARAPHRASES.read_text(encoding="utf-8"))
    vetoed = Counter(veto(pair["similar"], pair["origin"]) for pair in pairs)
    assert vetoed[""] >= 0.8 * len(pairs), vetoed
