"""``python -m deployments.cli``."""

from deployments.cli.main import run

run()
