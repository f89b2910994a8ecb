"""The README's picture of the day: small, the same for the same figures, with its words as text."""

from pathlib import Path
from typing import Any

from tests.bench.day_plot import draw

FIGURES: dict[str, Any] = {
    "plan": {"calls": 1200},
    "ways": {
        "no cache": {"layers": {"none": 1200}, "p50_ms": 400.0, "usd": "0.5", "saved": 0.0},
        "exact, local": {"layers": {"none": 500, "exact": 700}, "p50_ms": 4.2, "usd": "0.2", "saved": 0.6},
        "+ warm": {"layers": {"none": 550, "exact": 650}, "p50_ms": 4.0, "usd": "0.55", "saved": -0.1},
    },
}


def test_the_picture(tmp_path: Path) -> None:
    draw(FIGURES, tmp_path / "one.svg")
    draw(FIGURES, tmp_path / "two.svg")
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert len(text) < 40_000
    for words in ("1,200 answers", "exact, local", "$0.200  (60% less)", "(10% more)", "median 4.2 ms", "provider"):
        assert words in text, words
