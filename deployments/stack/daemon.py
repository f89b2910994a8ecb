"""The supervisor in a process of its own, as ``promptyard up --detach`` starts it."""

import argparse
import signal
import sys

from deployments.stack.errors import AlreadyRunning, StackError
from deployments.stack.home import StackHome
from deployments.stack.lifecycle import StopRequest, run_stack
from deployments.stack.local import plan_local_stack
from gateway.settings import Settings


def main() -> int:
    """Exit status 0 when it was asked to stop or another supervisor came first, 1 when the stack did not come up."""
    parser = argparse.ArgumentParser(prog="python -m deployments.stack.daemon", description=__doc__)
    parser.add_argument("--simulator", action="store_true", help="use the simulator whatever keys are set")
    arguments = parser.parse_args()
    settings = Settings()
    home, stop = StackHome.at(settings.home), StopRequest()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop.ask)
    try:
        run_stack(
            home,
            lambda ports: plan_local_stack(settings, home, ports, force_simulator=arguments.simulator),
            lambda _state: None,
            stop,
        )
    except AlreadyRunning:
        return 0
    except StackError as error:
        print(f"{error.message}\n{error.hint}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
