"""Programs that end by ``sys.exit`` must not end the process that goes on with the next one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments.stack.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("import sys; print(sys.argv[1:])", 0),
        ("import sys; print(sys.argv[1:]); sys.exit(0)", 0),
        ("import sys; print(sys.argv[1:]); sys.exit()", 0),
        ("import sys; print(sys.argv[1:]); sys.exit(4)", 4),
        ("import sys; print(sys.argv[1:]); sys.exit('broken')", 1),
    ],
)
def test_a_program_gives_its_status_back(tmp_path: Path, program: str, status: int) -> None:
    (tmp_path / "sample_program.py").write_text(program)
    code = (
        "import sys; from deployments.stack.prepare_deployments import run_program; "
        f"sys.path.insert(0, {str(tmp_path)!r}); print('status', run_program('sample_program', ['--all']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["['--all']", f"status {status}"]
