"""Commands that only look into the ledger or the cache answer at once: they import none of the heavy libraries."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

REPOSITORY = Path(__file__).resolve().parents[3]
HEAVY = ("prefect", "mlflow", "evidently", "pandas", "fastapi")
PROGRAM = f"""
import sys
from deployments.cli.main import build
try:
    build()(sys.argv[1:], standalone_mode=False)
except Exception as error:
    print(type(error).__name__, file=sys.stderr)
print(sorted(set({HEAVY}) & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "costs --help",
        "costs --json",
        "costs",
        "cache invalidate --help",
        "cache invalidate --dry-run --json",  # to its end or to a Redis that does not answer
        "versions --json",
        "keys list --json",
    ],
)
def test_nothing_heavy_is_imported(environ: dict[str, str], ledger: Engine, arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments.split()],
        cwd=REPOSITORY,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "ImportError" not in done.stderr
