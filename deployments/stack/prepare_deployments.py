"""Saves the blocks and deploys every flow: ``python -m deployments.stack.prepare_deployments PREFECT_FILE``.

One process for both, because importing Prefect is most of the work.
"""

import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec

BLOCKS = "deployments.save_blocks"


def run_program(module: str, arguments: Sequence[str] = ()) -> int:
    """``python -m module arguments`` in this process; returns its exit status. What it raises is not caught."""
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


def main(prefect_file: str) -> int:
    """The exit status of the first of the two that fails, else 0."""
    if find_spec(BLOCKS) and (status := run_program(BLOCKS)):
        return status
    return run_program("prefect", ["--no-prompt", "deploy", "--all", "--prefect-file", prefect_file])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
