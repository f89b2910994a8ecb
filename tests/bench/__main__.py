"""``python -m tests.bench [hot|overhead|sustained|chaos ...] [--seconds S] [--json FILE]``; ``--help`` names all parts.

Without a name: all of them, one after the other, for about an hour.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

SECONDS = {
    "hot": 3.0,
    "overhead": 15.0,
    "sustained": 300.0,
    "chaos": 5.0,
    "batching": 10.0,
    "freshness": 60.0,
    "interleavings": 1800.0,
    "stampede": 3.0,
    "day": 60.0,
    "memory": 300.0,
    "semantic": 1.0,
    "semantic-search": 3.0,
    "local-layer": 2.0,
    "layers-below": 2.0,
    "gate-power": 3600.0,
    "canary-power": 3600.0,
    "gate-time": 40.0,
    "release-kills": 1800.0,
    "releases": 1800.0,
    "rollback": 0.15,
    "bandit": 900.0,
}
"""What ``--seconds`` means in each, and is without it: a round of a case, a kind of call, the load, a fault, a way,
how long documents change, the longest that interleavings are drawn, the longest that filling the cache may take, the
longest that gates or releases are simulated, the longest that users come to releases, how long they ask before and
after a rollback, the longest that bandits are simulated."""

_MODULES = {"semantic": "semantic_quality"}
"""Parts that are not called as their module is."""

_WIDE = 132


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(SECONDS)}; all without any")
    parser.add_argument("--seconds", type=float, help="length of a part's unit; only useful with one part")
    parser.add_argument("--json", dest="file", help="also write the figures there; '-' prints them")
    given = parser.parse_args()
    if unknown := set(given.parts) - SECONDS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    console = Console(stderr=given.file == "-")
    if not console.is_terminal:
        console = Console(stderr=given.file == "-", width=_WIDE)
    figures: dict[str, Any] = {}
    for part in given.parts or SECONDS:
        console.rule(part)
        module = importlib.import_module(f"tests.bench.{_MODULES.get(part, part.replace('-', '_'))}")
        figures[part] = module.run(given.seconds or SECONDS[part], console)
    if given.file:
        text = json.dumps(figures, indent=2, default=str)
        print(text) if given.file == "-" else Path(given.file).write_text(text + "\n")
    if any(isinstance(one, dict) and one.get("violations") for one in figures.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
