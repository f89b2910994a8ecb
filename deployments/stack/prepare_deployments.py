"""Saves the blocks and deploys every flow: ``python -m deployments.stack.prepare_deployments PREFECT_FILE``.

One process for both, because importing Prefect is most of the work.
"""

import runpy
import sys
from importlib.util import find_spec

BLOCKS = "deployments.save_blocks"


def main(prefect_file: str) -> int:
    """The exit status of ``prefect deploy``. An error while saving blocks ends the process."""
    if find_spec(BLOCKS):
        sys.argv = [BLOCKS]
        runpy.run_module(BLOCKS, run_name="__main__", alter_sys=True)
    sys.argv = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", prefect_file]
    try:
        runpy.run_module("prefect", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
